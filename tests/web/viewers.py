"""Viewers of a server: threads that ask for what people look at, and how long each answer took.

python tests/web/viewers.py ADDRESS [VIEWERS] [SECONDS]
"""

from __future__ import annotations

import http.client
import random
import sys
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlencode

COLUMNS = [
    ("column", name) for name in ("sys/name", "sys/state", "sys/tags", "params/lr", "train/loss:min", "m/1", "m/2")
]


def targets(chance: random.Random) -> list[tuple[str, str]]:
    """What one viewer asks for, one after the other: a name and a target for each."""
    metric = chance.randrange(20)
    page = {"project": "bench", "limit": 200}
    return [
        ("projects", "/api/v1/projects"),
        ("table", _table(page)),
        ("columns", f"/api/v1/columns?project=bench&search=m/{metric}"),
        ("sorted", _table({**page, "sort": f"m/{metric}", "order": "asc"})),
        ("sorted by two", _table({**page, "sort": ["params/lr", f"m/{metric}"]})),
        ("filtered", _table({**page, "query": f"`m/{metric}`:float < 0.{chance.randrange(1, 9)} AND params/lr = 0.1"})),
        ("tagged", _table({**page, "query": 'sys/tags:stringSet CONTAINS "best"', "sort": f"m/{metric}"})),
        ("deep page", _table({**page, "offset": chance.randrange(90_000)})),
        ("groups", f"/api/v1/groups?project=bench&by=params/lr&by=params/optimizer&column=m/{metric}"),
        ("values", f"/api/v1/values?project=bench&path=sys/{chance.choice(['tags', 'state', 'owner'])}"),
    ]


def _table(parameters: dict[str, object]) -> str:
    return f"/api/v1/table?{urlencode([*parameters.items()], doseq=True)}&{urlencode(COLUMNS)}"


@dataclass
class Viewers:
    """Some viewers, and what they have measured: seconds by the name of a request."""

    port: int
    token: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def look(self, count: int, until: float, pause: float = 2.0) -> None:
        """Let them look until a moment; each waits about so long between two requests."""
        threads = [threading.Thread(target=self._one, args=(n, until, pause)) for n in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _one(self, number: int, until: float, pause: float) -> None:
        chance = random.Random(number)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        time.sleep(chance.random() * pause)
        while time.monotonic() < until:
            for name, target in targets(chance):
                if time.monotonic() > until:
                    break
                began = time.monotonic()
                connection.request("GET", target, headers={"Authorization": f"Bearer {self.token}"})
                reply = connection.getresponse()
                body = reply.read()
                self.seconds.setdefault(name, []).append(time.monotonic() - began)
                if reply.status != 200:
                    self.wrong.append(f"{name}: {reply.status} {body[:200]!r}")
                time.sleep(chance.uniform(0.5, 1.5) * pause)
        connection.close()


if __name__ == "__main__":
    url, _, token = sys.argv[1].partition("/#token=")
    viewers = Viewers(int(url.rpartition(":")[2]), token)
    viewers.look(int((sys.argv[2:] or ["50"])[0]), time.monotonic() + float((sys.argv[3:] or ["30"])[0]))
    for name, found in viewers.seconds.items():
        found.sort()
        middle, longest = found[len(found) // 2] * 1e3, found[-1] * 1e3
        print(f"{name:14} {len(found):5}  median {middle:7.1f} ms  longest {longest:7.1f} ms")
    print(viewers.wrong[:3])
