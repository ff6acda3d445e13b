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
from typing import TYPE_CHECKING, Any

from ops.gpu_ops import INTERRUPTED
from ops.lab import home_folder
from ops.storage.atomic import exclusive
from orchestration.run_tags import PARTITION_TAG

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

NOTIFY_VARIABLE = "MINDGAP_NOTIFY"
"""Addresses as Apprise writes them, separated by white space."""

NOTIFY_ON_VARIABLE = "MINDGAP_NOTIFY_ON"
EVENTS = ("failure", "success")

NOTIFIED_TAG = "mindgap/notified"
"""On runs of which a message was sent: the process of the run and the daemon both see its end, one of them speaks."""

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
        reason: the failed step and why; nothing is said of a run that its user interrupted.
    """
    urls = addresses()
    if not urls:
        return f"{NOTIFY_VARIABLE} is not set: nobody is told"
    if event not in wanted_events():
        return f"{NOTIFY_ON_VARIABLE} does not ask for {event}: nobody is told"
    if INTERRUPTED in reason:
        return "interrupted by its user: nobody is told"
    try:
        if not _claim(instance, run, event):
            return f"run {run.run_id[:8]}: somebody was told of it already"
        title, body = message(run, event=event, reason=reason)
        sent = send(title, body, event=event)
    except Exception as error:  # a database that does not answer, say: the run has its result all the same
        LOGGER.warning("nobody is told of run %s: %s", run.run_id[:8], type(error).__name__)
        return f"run {run.run_id[:8]}: nobody is told: {type(error).__name__}"
    return f"run {run.run_id[:8]}: told {sent} of {len(urls)} addresses"


def _claim(instance: DagsterInstance, run: DagsterRun, event: str) -> bool:
    """Whether this process is the one that speaks of the run's end."""
    with exclusive(home_folder() / "locks" / "notify.lock"):
        latest = instance.get_run_by_id(run.run_id)
        if latest is None or latest.tags.get(NOTIFIED_TAG):
            return False
        instance.add_run_tags(run.run_id, {NOTIFIED_TAG: event})
        return True


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


def reason_of(instance: DagsterInstance, run_id: str) -> str:
    """The first failed step of a run and why, without a stack trace; of a run without one, how it ended."""
    from dagster import DagsterEventType

    for kind in (DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE):
        for entry in instance.all_logs(run_id, of_type=kind):
            event = entry.dagster_event
            if event is not None:
                return _words(event)
    return ""


def _words(event: Any) -> str:
    if not event.is_step_failure:
        return str(event.message)
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return f"{event.step_key}: {data.user_failure_data.description}"
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{event.step_key}: {error.message.strip() if error is not None else 'failed'}"
