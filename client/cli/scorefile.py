"""``baton score --out``: a file through a deployment, with a progress bar."""

from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from client.cli.common import Options, err, out, print_document, run
from client.cli.names import find_deployment
from client.filescoring import check_columns, score_file
from client.rowfiles import RowFile
from client.scoredfile import NUMBER, SCORED, Plan, ScoredFile, fingerprint
from client.scoring import ScoringClient
from client.state import StateReader
from schemas.errors import BatonError
from schemas.manifest import InputSchema
from schemas.records import DeploymentRecord


def score_to_file(  # noqa: PLR0913 - the command's own options
    options: Options,
    path: Path,
    goal: Path,
    deployment: tuple[str, str | None],
    keep: tuple[str, ...],
    *,
    limit: int | None,
    restart: bool,
) -> None:
    """Score the rows of the file ``path`` into ``goal``; ``deployment`` is a name and a space."""
    if taken := set(keep) & {NUMBER, *SCORED}:
        raise BatonError(f"--keep {', '.join(sorted(taken))}: the result has such a column already")

    async def work() -> ScoredFile:
        async with ScoringClient(options.settings(), timeout_s=options.timeout_s) as client:
            record = await _record(options, *deployment)
            schema = _schema(record)
            source = RowFile(path, schema)
            columns = source.columns()
            check_columns(columns, schema, keep)
            fields = [field.name for field in schema.fields if field.name in columns]
            plan = Plan(fingerprint(path), record.deployment_id, keep, limit)
            scored = ScoredFile(goal, plan, restart=restart)
            if scored.rows:
                err.print(f"going on behind row {scored.rows}")
            try:
                with _bar() as bar:
                    shown = bar.add_task(escape(path.name), total=1.0, rows=scored.rows)

                    def told(rows: int) -> None:
                        bar.update(shown, completed=source.fraction, rows=rows)

                    await score_file(client, source, fields, scored, on_progress=told)
                scored.finish()
            except BaseException:
                err.print(
                    f"stopped behind row {scored.rows}: the same command goes on from there",
                    soft_wrap=True,
                )
                raise
            finally:
                scored.close()
            return scored

    scored = run(work())
    summary = {"rows": scored.rows, "errors": scored.errors, "out": str(goal)}
    if options.as_json:
        print_document(summary)
        return
    failed = f", [red]{scored.errors} with an error[/]" if scored.errors else ""
    out.print(f"[green]{scored.rows} rows[/]{failed} in {escape(str(goal))}", soft_wrap=True)


def _bar() -> Progress:
    # On a terminal only: elsewhere the last line alone would be printed.
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]} rows"),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


async def _record(options: Options, named: str, space_id: str | None) -> DeploymentRecord:
    reader = StateReader(options.settings())
    try:
        return await find_deployment(reader, named, space_id)
    finally:
        await reader.close_view()


def _schema(record: DeploymentRecord) -> InputSchema:
    if record.asset is None or record.asset.manifest.input_schema is None:
        raise BatonError(f"deployment {record.deployment_id} is {record.status}: it serves nothing")
    return record.asset.manifest.input_schema
