"""Messages about runs that failed, to wherever the user wants them: e-mail, Slack, a phone, any HTTP address.

Apprise (BSD-2, kept up for ten years) speaks to more than a hundred services through one URL each;
Dagster itself has e-mail and a few vendors' packages only. A message that cannot be delivered is a warning, never the
failure of a run. Addresses hold tokens and passwords: no message of ours names more of them than the service.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ops.lab import home_folder
from ops.storage.atomic import exclusive
from orchestration.endings import was_interrupted
from orchestration.run_tags import PARTITION_TAG

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

NOTIFY_VARIABLE = "MINDGAP_NOTIFY"
"""Addresses as Apprise writes them, separated by white space."""

NOTIFY_ON_VARIABLE = "MINDGAP_NOTIFY_ON"
EVENTS = ("failure", "success")

NOTIFIED_TAG = "mindgap/notified"
"""On runs of which a message was sent, with the run's own id, for a re-execution copies its parent's tags: the process
of the run and the daemon both see its end, one of them speaks."""

LOGGER = logging.getLogger("mindgap")
_LOUD = ("apprise", "urllib3", "requests", "httpx", "httpcore")
"""Loggers that may write an address, which may be a secret."""


def addresses() -> list[str]:
    """``MINDGAP_NOTIFY`` taken apart; empty where it is unset."""
    return (os.environ.get(NOTIFY_VARIABLE) or "").split()


def wanted_events() -> set[str]:
    """``MINDGAP_NOTIFY_ON``: ``failure`` (default), ``success``, or both with a comma; what is neither is warned of."""
    names = {item for item in re.split(r"[\s,]+", os.environ.get(NOTIFY_ON_VARIABLE) or "failure") if item}
    for name in sorted(names - set(EVENTS)):
        LOGGER.warning("%s: expected %s, got %r: left out", NOTIFY_ON_VARIABLE, " or ".join(EVENTS), name)
    return names & set(EVENTS)


def send(title: str, body: str, *, event: str) -> int:
    """Send one message to every address; returns how many services took it. Never raises; warns of those that did not.

    Args:
        event: failure or success.
    """
    urls = addresses()
    if not urls:
        return 0
    if find_spec("apprise") is None:
        LOGGER.warning("%s is set, but apprise is not installed: pip install -e '.[notify]'", NOTIFY_VARIABLE)
        return 0
    return sum(_deliver(place, url, title, body, event) for place, url in enumerate(urls, 1))


def _deliver(place: int, url: str, title: str, body: str, event: str) -> bool:
    named = re.match(r"[a-z][a-z0-9+.-]{0,20}(?=://)", url, re.IGNORECASE)
    shown = f"address {place} of {NOTIFY_VARIABLE} ({named[0]}://...)" if named else f"address {place}"
    with _silent():
        try:
            import apprise

            service = apprise.Apprise()
            if not service.add(url):
                reason = "not an address that Apprise knows"
            elif service.notify(body=body, title=title, notify_type=apprise.NotifyType(event)):
                return True
            else:
                reason = "the service did not take it"
        except Exception as error:  # whatever a plugin does: its text may hold the address
            reason = f"it failed with {type(error).__name__}"
    LOGGER.warning("no message sent to %s: %s; the run itself is not touched", shown, reason)
    return False


@contextmanager
def _silent() -> Iterator[None]:
    """Without a word of the libraries that may write an address."""
    loggers = [logging.getLogger(name) for name in _LOUD]
    loggers += [
        item
        for name, item in logging.Logger.manager.loggerDict.items()
        if isinstance(item, logging.Logger) and name.partition(".")[0] in _LOUD
    ]
    before = [(item, item.disabled) for item in loggers]
    for item in loggers:
        item.disabled = True
    try:
        yield
    finally:
        for item, was in before:
            item.disabled = was


def notify_of(instance: DagsterInstance, run: DagsterRun, *, event: str, reason: str = "") -> str:
    """Tell of the end of one run, once, whoever sees it first; returns what was done, in words.

    Args:
        event: failure or success.
        reason: the failed step and why; nothing is said of a run that its user interrupted (its events say so).
    """
    urls = addresses()
    if not urls:
        return f"{NOTIFY_VARIABLE} is not set: nobody is told"
    if event not in wanted_events():
        return f"{NOTIFY_ON_VARIABLE} does not ask for {event}: nobody is told"
    try:
        if event == "failure" and was_interrupted(instance, run.run_id):
            return "interrupted by its user: nobody is told"
        title, body = message(run, event=event, reason=reason)
        sent = _send_once(instance, run, title, body, event)
    except Exception as error:  # a database that does not answer, say: the run has its result all the same
        LOGGER.warning("nobody is told of run %s: %s", run.run_id[:8], type(error).__name__)
        return f"run {run.run_id[:8]}: nobody is told: {type(error).__name__}"
    if sent is None:
        return f"run {run.run_id[:8]}: somebody was told of it already"
    return f"run {run.run_id[:8]}: told {sent} of {len(urls)} addresses"


def _send_once(instance: DagsterInstance, run: DagsterRun, title: str, body: str, event: str) -> int | None:
    """Send unless somebody did; returns how many services took the message, None where it was sent before.

    The run is tagged first, for a message that a kill loses is better than two, and the tag is emptied (Dagster takes
    none away) where nobody could be told: whoever sees the run's end next tries again. They wait for each other.
    """
    with exclusive(home_folder() / "locks" / "notify.lock"):
        latest = instance.get_run_by_id(run.run_id)
        if latest is None or latest.tags.get(NOTIFIED_TAG) == run.run_id:
            return None
        instance.add_run_tags(run.run_id, {NOTIFIED_TAG: run.run_id})
        sent = send(title, body, event=event)
        if not sent:
            instance.add_run_tags(run.run_id, {NOTIFIED_TAG: ""})
        return sent


def message(run: DagsterRun, *, event: str, reason: str) -> tuple[str, str]:
    """(title, text): experiment, step and reason, run, and what to do."""
    name = run.tags.get(PARTITION_TAG) or run.job_name
    if event == "success":
        return f"Mindgap: {name} is done", f"run {run.run_id}\n`mindgap report {name}` shows the result"
    resume = f"`mindgap run {name}`" if PARTITION_TAG in run.tags else "start it"
    lines = [
        reason or "no step says why; see the run's log",
        f"run {run.run_id}",
        f"To resume: {resume} again, or Re-execute in the UI; what is committed is not computed twice.",
    ]
    return f"Mindgap: {name} failed", "\n".join(lines)
