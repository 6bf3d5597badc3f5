// The live view of a notebook: a chart for each series of `shown`, drawn anew when it has changed. No request is made.

const HEIGHT = 150;

/** The colour of an element's text: red, green and blue. */
function textColour(el) {
  return (getComputedStyle(el).color.match(/[\d.]+/g) || [0, 0, 0]).slice(0, 3).map(Number);
}

/** Whether the page behind an element is dark, whatever the notebook's program calls its theme. */
function isDark(el) {
  return textColour(el).reduce((sum, part) => sum + part) > 384;
}

/** The places of values without neighbours, which no line would show. */
function alone(plot, series) {
  const values = plot.data[series];
  return values.flatMap((value, at) => (value != null && values[at - 1] == null && values[at + 1] == null ? [at] : []));
}

function number(value) {
  return value == null ? "" : String(Number(value.toPrecision(6)));
}

/** One chart and its title; `put` gives it other numbers. */
function panel(place, cursors) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const name = document.createElement("span");
  const value = document.createElement("span");
  const area = document.createElement("div");
  caption.append(name, value);
  figure.append(caption, area);
  place.append(figure);
  const style = getComputedStyle(place.closest(".naiad"));
  const [red, green, blue] = textColour(place);
  const shade = (alpha) => `rgba(${red}, ${green}, ${blue}, ${alpha})`;
  const line = style.getPropertyValue("--line").trim();
  const axis = {
    stroke: shade(0.65), grid: { stroke: shade(0.1), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif",
  };
  let last = "";
  const plot = new uPlot(
    {
      width: Math.max(120, area.clientWidth || 300),
      height: HEIGHT,
      legend: { show: false },
      scales: { x: { time: false } },
      cursor: { y: false, drag: { x: true, y: false }, sync: { key: cursors } },
      axes: [{ ...axis, size: 24 }, { ...axis, size: 52 }],
      series: [{}, { stroke: "transparent", points: { show: false } },
        { stroke: line, width: 1.5, points: { show: () => true, filter: alone, fill: line, size: 5 } }, { stroke: "transparent", points: { show: false } }],
      bands: [{ series: [3, 1], fill: style.getPropertyValue("--band").trim() }],
      hooks: {
        setCursor: [(u) => {
          const at = u.cursor.idx;
          value.textContent = at == null ? last : `${number(u.data[2][at])} at ${number(u.data[0][at])}`;
        }],
      },
    },
    [[], [], [], []],
    area,
  );
  const watch = new ResizeObserver(() => {
    if (area.clientWidth > 0) plot.setSize({ width: area.clientWidth, height: HEIGHT });
  });
  watch.observe(area);
  return {
    put(series) {
      name.textContent = "\u200e" + series.path;
      name.title = `${series.path}, ${series.count.toLocaleString("en")} points`;
      last = series.last;
      if (plot.cursor.idx == null) value.textContent = last;
      plot.setData([series.x, series.low, series.mean, series.high]);
    },
    end() {
      watch.disconnect();
      plot.destroy();
      figure.remove();
    },
  };
}

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "naiad";
  el.append(root);
  const header = document.createElement("header");
  const charts = document.createElement("div");
  charts.className = "charts";
  root.append(header, charts);
  const panels = new Map();
  const cursors = `naiad-${Math.random()}`;

  function draw() {
    const shown = model.get("shown") || {};
    header.className = shown.state || "";
    const parts = [["span", "", "dot"], ["b", shown.id || "", ""]];
    if (shown.name && shown.name !== "Untitled") parts.push(["span", shown.name, ""]);
    parts.push(["span", shown.state || "", "soft"]);
    if (shown.more) parts.push(["span", `and ${shown.more} more series`, "soft"]);
    header.replaceChildren(...parts.map(([tag, text, kind]) => {
      const part = document.createElement(tag);
      part.textContent = text;
      part.className = kind;
      return part;
    }));
    const series = shown.series || [];
    for (const each of series) {
      if (!panels.has(each.path)) panels.set(each.path, panel(charts, cursors));
      panels.get(each.path).put(each);
    }
    for (const [path, each] of panels) {
      if (!series.some((one) => one.path === path)) {
        each.end();
        panels.delete(path);
      }
    }
  }

  // A notebook attaches the element after this, and only then are its colours and its width known.
  function begin() {
    if (hasEnded) return;
    if (!root.isConnected) {
      requestAnimationFrame(begin);
      return;
    }
    root.classList.toggle("dark", isDark(root));
    draw();
    model.on("change:shown", draw);
  }

  let hasEnded = false;
  begin();
  return () => {
    hasEnded = true;
    model.off("change:shown", draw);
    for (const each of panels.values()) each.end();
  };
}

export default { render };
