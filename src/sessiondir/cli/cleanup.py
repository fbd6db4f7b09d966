"""``sessiondir cleanup``"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from sessiondir.cli import exit_codes, output
from sessiondir.cli.options import (
    dry_run_option,
    examples,
    json_option,
    open_for_reading,
    open_for_writing,
    store_or_agent,
    timeout_option,
)
from sessiondir.cli.output import Column
from sessiondir.cli.retention import config_path, policy_of, settings_options
from sessiondir.cli.stores import AgentStore, choose
from sessiondir.cli.targets import first_failure
from sessiondir.errors import StoreError, StoreNotFound
from sessiondir.installation import Installation

if TYPE_CHECKING:
    from sessiondir.maintenance import Plan, Policy, Report

_Done = tuple[AgentStore, "Plan", "Report | None"]
"""A store, what was planned for it, and what was done unless that was a dry run."""
_SESSIONS = (Column("ACTION"), Column("UPDATED", "time"), Column("SIZE", "size"), Column("SESSION"), Column("WHY"))
_FILES = (Column("ACTION"), Column("SIZE", "size"), Column("FILE", gives_way=True), Column("WHY"))


@click.command(
    epilog=examples(
        "sessiondir cleanup --dry-run",
        "sessiondir cleanup --enforce --active-key agent:main:main",
        "sessiondir cleanup --all-agents --config ~/.openclaw/openclaw.json --dry-run",
        "sessiondir cleanup --fix-missing --dry-run --json",
    )
)
@click.option("--enforce", is_flag=True, help="Remove; else the mode of the configuration counts, which is warn.")
@click.option("--fix-missing", is_flag=True, help="Remove sessions, too, whose transcript is not there.")
@click.option("--active-key", "active", metavar="KEY", multiple=True, help="A session that must stay; repeatable.")
@click.option("--archive-orphans", is_flag=True, help="Archive transcripts that no session uses.")
@click.option("--remove-backups", is_flag=True, help="Count backups of migrations for the disk, and remove them.")
@click.option("--trust-clock", is_flag=True, help="Go on although a time looks wrong.")
@settings_options
@dry_run_option
@timeout_option
@json_option
@click.option("--all-agents", is_flag=True, help="The stores of all agents in the gateway's state directory.")
@store_or_agent
@click.pass_context
def cleanup(context: click.Context, /, *, as_json: bool, dry_run: bool, lock_timeout: float, **given: Any) -> None:
    """Remove what is old or too much; removed sessions go to the trash.

    Without --enforce (or the mode "enforce" in the configuration) nothing is removed but what
    --fix-missing finds. --dry-run shows what enforcing would do. For the gateway's stores its
    configuration counts, and an option more than the same setting there. Active, leased, pinned
    and running sessions stay.
    """
    chosen = _chosen(given["path"], given["agent"], all_agents=given["all_agents"])
    config = config_path(given, chosen)
    policy = policy_of(given, config, dry_run=dry_run)
    options = {
        "active": given["active"],
        "fix_missing": given["fix_missing"],
        "archive_orphans": given["archive_orphans"],
        "remove_backups": given["remove_backups"],
        "trust_clock": given["trust_clock"],
    }
    if config is not None and not as_json:
        output.note(f"settings of {output.clean(config)}")
    done, errors = _clean_all(chosen, policy, options, dry_run=dry_run, lock_timeout=lock_timeout)
    if not as_json:
        for _, plan, report in done:
            _tell(plan, report)
    _warn_of_unknown(given["active"], done)
    if as_json:
        summaries = [_summary(target, plan, report) | {"config": config} for target, plan, report in done]
        if len(chosen) == 1 and not given["all_agents"]:
            output.print_json(summaries[0])
        else:
            failed = [
                {"agentId": target.agent, "storePath": target.path, "error": str(exc)} for target, exc in errors
            ]
            told = {"allAgents": True, "mode": policy.mode, "dryRun": dry_run, "stores": summaries}
            output.print_json(told | {"failed": failed})
    if errors:
        context.exit(first_failure(exc for _, exc in errors))
    if policy.mode == "enforce" and not dry_run and any(plan.stopped for _, plan, _ in done):
        context.exit(exit_codes.REFUSED)


def _chosen(path: str | None, agent: str | None, *, all_agents: bool) -> list[AgentStore]:
    """The stores to clean, each once; with ``all_agents`` none that a link leads out of the state directory to."""
    stores = choose(path, agent, all_agents=all_agents).stores()
    if not all_agents:
        return stores
    root = Installation.find(os.environ).agents_dir
    real = os.path.realpath(root)
    found: dict[str, AgentStore] = {}
    for store in stores:
        place = os.path.realpath(os.path.dirname(store.path))
        if place.startswith(f"{real}{os.sep}"):
            found.setdefault(place, store)
    if not found:
        raise StoreNotFound(f"no agent has a store in {root}; name a store with --store", path=root)
    return list(found.values())


def _warn_of_unknown(active: tuple[str, ...], done: list[_Done]) -> None:
    """A key that is misspelt protects nothing."""
    for key in active:
        if done and not any(_is_known(key, plan) for _, plan, _ in done):
            output.warn(f"--active-key {key}: there is no such session")


def _is_known(key: str, plan: Plan) -> bool:
    spellings = {key, key.strip().lower()} & plan.active
    return any(session.key in spellings for session in plan.sessions)


def _clean_all(
    chosen: list[AgentStore], policy: Policy, options: dict[str, Any], *, dry_run: bool, lock_timeout: float
) -> tuple[list[_Done], list[tuple[AgentStore, StoreError]]]:
    """What came of each store. The failure of one of several is told, and the others have their turn."""
    done: list[_Done] = []
    errors: list[tuple[AgentStore, StoreError]] = []
    for target in chosen:
        try:
            one = _clean(target, policy, options, dry_run=dry_run, lock_timeout=lock_timeout)
            done.append(one)
            error = one[2].error if one[2] is not None else None
        except StoreError as exc:
            if len(chosen) == 1:
                raise
            error = exc
        if error is not None:
            errors.append((target, error))
            output.warn(f"{target.path}: {error}")
    return done, errors


def _clean(
    target: AgentStore, policy: Policy, options: dict[str, Any], *, dry_run: bool, lock_timeout: float
) -> _Done:
    from sessiondir import maintenance

    if dry_run:
        with open_for_reading(target.path) as store:
            return target, maintenance.plan(store, policy, **options), None
    with open_for_writing(target.path, lock_timeout) as store:
        plan = maintenance.plan(store, policy, **options)
        return target, plan, maintenance.apply(store, plan)


# -- for people ---------------------------------------------------------------------------


def _tell(plan: Plan, report: Report | None) -> None:
    output.note(f"{output.clean(plan.store_path)}  (mode {plan.policy.mode})")
    if plan.stopped is not None:
        output.warn(f"{plan.stopped}; if it is: --trust-clock")
    for problem in plan.problems:
        output.warn(problem)
    if report is None:
        _tell_plan(plan)
    else:
        _tell_report(plan, report)
    for unmet in plan.unmet if plan.stopped is None else ():
        output.warn(f"{unmet.setting} is {unmet.limit:,}, there would be {unmet.would_be:,}: {unmet.reason}")


def _tell_plan(plan: Plan) -> None:
    if plan.removals:
        output.print_table(_SESSIONS, ((s.action, s.updated_at, s.size, s.key, s.reason) for s in plan.removals))
    shown = [*plan.changes, *(file for file in plan.orphans if file.action == "keep")]
    if shown:
        output.print_table(_FILES, ((_action(f.action, orphan=f.orphan), f.size, f.name, f.reason) for f in shown))
    why = ", ".join(f"{rule} {count:,}" for rule, count in plan.counts.items())
    output.note(
        f"sessions {plan.before_count:,} -> {plan.after_count:,}{f' ({why})' if why else ''}, "
        f"bytes {plan.usage.total:,} -> {plan.after_bytes:,}; nothing was changed"
    )


def _action(action: str, *, orphan: bool) -> str:
    return "orphan" if orphan and action == "keep" else action


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _tell_report(plan: Plan, report: Report) -> None:
    from sessiondir.maintenance.plan import ONLY_WARNING

    left = plan.before_count - len(report.removed)
    spared = sum(1 for one in report.refused if one.why_not == ONLY_WARNING)
    if spared:
        what = "session or file" if spared == 1 else "sessions or files"
        output.note(f"{spared:,} {what} would go with --enforce; see --dry-run")
    if len(report.refused) == spared and not report.removed and not any(not one.why_not for one in report.files):
        output.note(f"nothing was changed; {_count(left, 'session')}")
        return
    refused = [(one.action, one.name, one.why_not) for one in report.refused if one.why_not != ONLY_WARNING]
    if refused:
        output.print_table((Column("NOT DONE"), Column("SESSION OR FILE"), Column("WHY")), refused)
    files = sum(1 for one in report.files if one.why_not is None)
    moved = _count(len(report.removed), "session")
    output.note(
        f"{moved} moved to the trash, {_count(files, 'file')} archived or deleted, "
        f"{output.size_text(report.freed_bytes)} freed; {_count(left, 'session')} left"
    )


# -- for programs -------------------------------------------------------------------------


def _summary(target: AgentStore, plan: Plan, report: Report | None) -> dict[str, Any]:
    counts = plan.counts
    limit = plan.policy.max_disk_bytes
    told: dict[str, Any] = {
        "agentId": target.agent,
        "storePath": plan.store_path,
        "mode": plan.policy.mode,
        "dryRun": report is None,
        "beforeCount": plan.before_count,
        "afterCount": plan.after_count if report is None else plan.before_count - len(report.removed),
        "missing": counts["prune-missing"],
        "pruned": counts["prune-stale"] + counts["prune-cron"],
        "capped": counts["cap-overflow"],
        "evicted": counts["evict-budget"],
        "diskBudget": None if limit is None else _budget(plan, limit),
        "wouldMutate": bool(plan.removals or plan.changes),
        "stopped": plan.stopped,
        "problems": list(plan.problems),
        "unmet": [
            {"setting": one.setting, "limit": one.limit, "wouldBe": one.would_be, "reason": one.reason}
            for one in plan.unmet
        ],
        "orphans": [file.name for file in plan.orphans],
        "sessions": [
            {
                "key": session.key,
                "version": session.version,
                "updatedAt": session.updated_at,
                "size": session.size,
                "action": session.action,
                "reason": session.reason,
                "transcripts": list(session.transcripts),
                "forGood": session.for_good,
            }
            for session in plan.sessions
        ],
        "files": [
            {"name": file.name, "kind": file.kind, "size": file.size, "action": file.action, "reason": file.reason}
            for file in plan.files
        ],
    }
    if report is not None:
        told["applied"] = True
        told["appliedCount"] = plan.before_count - len(report.removed)
        told["removed"] = list(report.removed)
        told["freedBytes"] = report.freed_bytes
        told["refused"] = [
            {"name": one.name, "action": one.action, "whyNot": one.why_not} for one in report.refused
        ]
    return told


def _budget(plan: Plan, limit: int) -> dict[str, Any]:
    return {
        "totalBytesBefore": plan.usage.total,
        "totalBytesAfter": plan.after_bytes,
        "removedFiles": sum(1 for file in plan.changes if file.action == "delete"),
        "removedEntries": sum(1 for session in plan.removals if session.for_good),
        "freedBytes": max(0, plan.usage.total - plan.after_bytes),
        "maxBytes": limit,
        "highWaterBytes": plan.policy.disk_target_bytes,
        "overBudget": plan.usage.total > limit,
    }
