/** The page: its shell, the router and the keyboard. Each screen is a module that is loaded when it is first shown. */
import { html, render, useEffect, useState, Component } from "./lib/html.js";
import { follow, go, href, keepInFragment, usePlace } from "./lib/place.js";
import { feed, source, takeToken } from "./lib/source.js";
import { useKeys } from "./lib/keys.js";
import { Failure, Skeleton, useLoaded } from "./widgets/controls.js";
import { Rail, KeyMap, Locked, recalled, themed } from "./screens/shell.js";

/** @type {Record<string, [() => Promise<any>, string]>} */
const SCREENS = {
  projects: [() => import("./screens/project.js"), "Projects"], project: [() => import("./screens/project.js"), "ProjectPage"], about: [() => import("./screens/project.js"), "About"],
  runs: [() => import("./screens/runs.js"), "Runs"], run: [() => import("./screens/run.js"), "Run"], compare: [() => import("./screens/compare.js"), "Compare"],
  models: [() => import("./screens/project.js"), "Models"], model: [() => import("./screens/project.js"), "Model"], artifacts: [() => import("./screens/project.js"), "Artifacts"],
};

/** A screen that fails leaves the rest of the page as it is. */
class Guard extends Component {
  constructor(props) {
    super(props);
    this.state = { error: null };
  }

  static getDerivedStateFromError(error) {
    return { error };
  }

  componentDidCatch(error) {
    console.error(error);
  }

  render() {
    if (!this.state.error) return /** @type {any} */ (this.props).children;
    return html`<div class="page"><${Failure} error=${this.state.error} onRetry=${() => this.setState({ error: null })} /></div>`;
  }
}

function App() {
  const place = usePlace();
  const [refused, setRefused] = useState(/** @type {any} */ (null));
  const about = useLoaded(() => source.get(""), []);
  const [showsKeys, setShowsKeys] = useState(false);
  const [repaint, setRepaint] = useState(0);
  const [module, setModule] = useState(/** @type {any} */ ({}));

  source.onRefused = setRefused;
  if (about.data) source.isEditable = Boolean(about.data.is_editable);
  const screen = SCREENS[place.screen];

  useEffect(() => {
    if (!screen) return;
    screen[0]().then((loaded) => setModule({ key: place.screen, Screen: loaded[screen[1]] }), (error) => setModule({ key: place.screen, error }));
  }, [place.screen]);
  useEffect(() => {
    document.title = [place.id || place.project, "naiad"].filter(Boolean).join(" · ");
  }, [place.id, place.project, place.screen]);
  useEffect(() => {
    const again = () => setRepaint((n) => n + 1);
    addEventListener("naiad-colors", again);
    return () => removeEventListener("naiad-colors", again);
  }, []);
  useKeys({
    "?": () => setShowsKeys(true),
    "g r": () => go({ screen: "runs", project: project(place, about.data) }),
    "g c": () => place.screen === "run" ? go({ ...place, tab: "charts" }) : go({ screen: "compare", project: project(place, about.data), tab: "charts", params: { runs: place.params.runs } }),
    "g m": () => go({ screen: "models", project: project(place, about.data) }),
    "g p": () => go({ screen: "projects" }),
  });

  if (refused) return html`<${Locked} error=${refused} />`;
  const body = () => {
    if (!screen) return html`<div class="lonely"><h1>There is nothing at this address</h1><p class="faint mono">${location.pathname}</p><a href=${href({ screen: "projects" })}>All projects</a></div>`;
    if (about.error) return html`<div class="page"><${Failure} error=${about.error} onRetry=${about.again} /></div>`;
    if (module.error) return html`<div class="page"><${Failure} error="A part of the page could not be loaded. Is naiad ui still running?" onRetry=${() => location.reload()} /></div>`;
    if (!about.data || module.key !== place.screen) return html`<div class="page"><${Skeleton} lines=${8} /></div>`;
    return html`<${Guard} key=${`${place.screen} ${place.project} ${place.id} ${repaint}`}><${module.Screen} place=${place} about=${about.data} /></${Guard}>`;
  };
  return html`<a class="skip" href="#main">Skip to the content</a>
    <div class="shell" onClick=${follow}>
      <${Rail} place=${place} about=${about.data} onKeys=${() => setShowsKeys(true)} />
      <main class="main" id="main" tabindex="-1">${body()}</main>
    </div>
    ${showsKeys && html`<${KeyMap} onClose=${() => setShowsKeys(false)} />`}`;
}

/** The project of a place; elsewhere the store's first. */
const project = (place, about) => place.project || recalled("naiad.project") || about?.default_project || "";

const kept = document.getElementById("naiad-data");
if (kept) { // a page read from a file: its data lies in it, and its place is kept in the fragment
  const { MemorySource } = await import("./lib/memory.js");
  feed(new MemorySource(JSON.parse(kept.textContent ?? "")));
  keepInFragment();
} else takeToken();
themed();
addEventListener("hashchange", () => {
  if (location.hash.includes("token=")) {
    takeToken();
    location.reload();
  }
});
render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
