"""Projects: what was trained and saved; an experiment; a pipeline that becomes a model."""

import asyncio
from dataclasses import fields
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from client.supervisor import child_environment
from console import projects, saving
from console.forms import Sent
from console.pages import page
from console.problems import Problem
from console.services import Here
from experiments import Experiment, ExperimentError, Pipeline, plots
from schemas.errors import BatonError

router = page.router()

# How lists may be sorted, by the names of their columns; by default the newest come first.
ORDERS = ("name", "task", "target", "rows", "framework", "project")


@router.get("/projects")
async def overview(request: Request, here: Here, q: str = "", sort: str = "") -> Response:
    """Return the experiments and the saved models, those that ``q`` is in, by ``sort``."""
    home = here.settings.home
    experiments = await asyncio.to_thread(projects.experiment_rows, home)
    models = await asyncio.to_thread(projects.model_rows, home)
    return page.render(
        request,
        "projects.html",
        {
            "experiments": _sorted(
                [e for e in experiments if _has(q, e.name, e.data, e.target, e.task)], sort
            ),
            "models": _sorted(
                [m for m in models if _has(q, m.name, m.description, m.project, *m.tags)], sort
            ),
            "any_experiments": bool(experiments),
            "any_models": bool(models),
            "home": home,
            "q": q,
            "sort": sort,
            "orders": ORDERS,
            "notice": None,
        },
    )


@router.get("/projects/experiments/{name}")
async def experiment(request: Request, name: str, here: Here, saved: str = "") -> Response:
    """Return an experiment: its leaderboard and plots; and what was ``saved`` from it just now."""
    found = await asyncio.to_thread(projects.find_experiment, here.settings.home, name)
    known = await asyncio.to_thread(projects.has_model, here.settings.home, saved)
    best = found.leaderboard()[0]
    return page.render(
        request,
        "experiment.html",
        {
            "experiment": found,
            "board": found.leaderboard(),
            "metrics": list(best.metrics),
            "bars": {metric: plots.bars(found, metric) for metric in best.metrics},
            "saved": saved if known else "",
            "notice": None,
        },
    )


@router.get("/projects/experiments/{name}/{number:int}")
async def pipeline(request: Request, name: str, number: int, here: Here) -> Response:
    """Return a pipeline of an experiment, and the form that saves it as a model."""
    found = await asyncio.to_thread(projects.find_experiment, here.settings.home, name)
    chosen = _chosen(found, number)
    given = {"name": found.model_name(number), "description": found.origin(chosen)}
    return _pipeline(request, found, chosen, given)


@router.post("/projects/experiments/{name}/{number:int}")
async def save(request: Request, name: str, number: int, here: Here, form: Sent) -> Response:
    """Save a pipeline as a model; where that cannot be, show the form again and say why."""
    found = await asyncio.to_thread(projects.find_experiment, here.settings.home, name)
    chosen = _chosen(found, number)
    texts = ("name", "description", "tags", "project_id")
    given = {field: page.text(form, field) or "" for field in texts}
    tags = [tag.strip() for tag in given["tags"].split(",")]
    order = saving.Order(
        home=here.settings.home,
        experiment=name,
        pipeline=number,
        stores=here.store.roots,
        name=given["name"],
        description=given["description"] or None,
        tags=tuple(dict.fromkeys(filter(None, tags))),
        project_id=given["project_id"] or None,
    )
    try:
        await saving.save(order, child_environment(here.settings.kafka))
    except BatonError as error:
        return _pipeline(request, found, chosen, given, fault=str(error))
    return RedirectResponse(f"/projects/experiments/{name}?saved={quote(order.name)}", 303)


def _pipeline(
    request: Request,
    found: Experiment,
    chosen: Pipeline,
    given: dict[str, str],
    *,
    fault: str = "",
) -> Response:
    context: dict[str, Any] = {
        "experiment": found,
        "pipeline": chosen,
        "cells": plots.confusion_cells(chosen.errors) if chosen.errors else [],
        "given": given,
        "fault": fault,
        "notice": None,
    }
    return page.render(request, "pipeline.html", context, status=422 if fault else 200)


def _chosen(found: Experiment, number: int) -> Pipeline:
    """Return the pipeline ``number``, trained or not. Raises Problem (404)."""
    for candidate in found.pipelines:
        if candidate.number == number:
            return candidate
    raise Problem(
        404, ExperimentError.code, f"experiment {found.name} has no pipeline {str(number)[:40]}"
    )


def _has(q: str, *texts: str) -> bool:
    return any(q.lower() in text.lower() for text in texts)


def _sorted(rows: list[Any], by: str) -> list[Any]:
    if by in ORDERS and rows and by in {field.name for field in fields(rows[0])}:
        rows.sort(key=lambda row: getattr(row, by))
    return rows
