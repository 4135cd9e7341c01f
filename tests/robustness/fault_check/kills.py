"""Kills runs at random points of every component and of the push."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.robustness.fault_check.site import Ended, Result, Running, Site, same

# Resolvers look only; they write nothing.
COMPONENTS = (
    *("CuratedSchema", "ExampleGen", "StatisticsGen", "ExampleValidator"),
    *("Transform", "Trainer", "Evaluator", "Pusher"),
)
# How many kills each gets, in proportion to how long it writes.
_SHARES = (1, 3, 2, 1, 3, 4, 2, 1)
# A component may be faster than in the reference run.
_PART = 0.7


@dataclass(frozen=True)
class Kill:
    """A point at which a run is killed.

    Attributes:
        component: The one that is running.
        where: In words.
        reached: Waits for the point; False if the run ends before.
    """

    component: str
    where: str
    reached: Callable[[Running], bool]


def plan(count: int, seed: int, seconds: dict[str, float]) -> list[Kill]:
    """Chooses points: three at fixed moments of the push, the others random.

    Args:
        count: Number of points, at least four.
        seed: Of the random numbers.
        seconds: How long each component takes.
    """
    chosen = random.Random(seed)
    pool = [name for name, share in zip(COMPONENTS, _SHARES, strict=True) for _ in range(share)]
    names = [pool[number % len(pool)] for number in range(count - len(_PUSHES))]
    kills = [_after(name, _PART * chosen.random() * seconds[name]) for name in sorted(names, key=COMPONENTS.index)]
    return [*kills, *_PUSHES]


def make_states(site: Site) -> Iterator[str]:
    """Saves the root at the beginning of each component, as a run that was killed there left it; yields its name."""
    site.restore(None)
    for component in COMPONENTS:
        ended = site.run(stop=lambda running, name=component: _kill_at(running, _after(name, 0.0), []))
        if ended.code != -9:
            raise AssertionError(f"the run was to be killed in {component} and ended with {ended.code}: {ended.errors}")
        site.save(f"before-{component}")
        yield component


def survive(site: Site, kill: Kill, reference: Result) -> str:
    """Kills a run, runs again and compares; returns an empty text, or what is wrong."""
    site.restore(f"before-{kill.component}")
    reached: list[bool] = []
    ended = site.run(stop=lambda running: _kill_at(running, kill, reached))
    if reached != [True] or ended.code != -9:
        return f"the run was not killed: it ended with {ended.code}"
    return compare(site, site.run(), reference)


def compare(site: Site, ended: Ended, reference: Result) -> str:
    """What is wrong with a root after a run that should have ended like the reference; empty if nothing is."""
    if ended.code:
        return f"exit code {ended.code}: {ended.errors.strip()[-300:]}"
    if len(site.pushed()) != 1:
        return f"versions {site.pushed()}"
    result = site.result()
    if result.predictions != reference.predictions:
        return "predictions differ"
    if keys := [key for key in reference.summary if not same(result.summary.get(key), reference.summary[key])]:
        return f"summaries differ in {keys}"
    if left := site.leftovers():
        return f"left behind: {left[:3]}"
    return ""


def _after(component: str, seconds: float) -> Kill:
    def reached(running: Running) -> bool:
        found = running.wait_for(f"{component} ...")
        time.sleep(seconds)
        return found

    return Kill(component, f"{component} after {seconds:.1f} s", reached)


def _kill_at(running: Running, kill: Kill, reached: list[bool]) -> None:
    found = kill.reached(running) and running.process.poll() is None
    reached.append(found)
    running.process.kill()


def _when_there(pattern: str) -> Callable[[Running], bool]:
    return lambda running: running.wait_until(lambda: any((running.site.root / "serving").glob(pattern)))


_PUSHES = (
    Kill("Pusher", "Pusher while the model is copied", _when_there("small/.incoming-*")),
    Kill("Pusher", "Pusher when the version has appeared", _when_there("small/1")),
    Kill("Pusher", "between the Pusher and the summary", lambda running: running.wait_for("✓ Pusher")),
)
