"""Who may call the console, asked of the guard itself."""

import uuid
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from console import forms
from console.pages import login
from console.problems import install
from console.security import BODY_BYTES, SESSION_COOKIE, UPLOAD_PATH, Guard, Keys
from console.settings import ConsoleSettings
from transport.settings import Settings

HOME = "http://127.0.0.1:8470"
KAFKA = Settings("127.0.0.1:1")
TOKEN = uuid.uuid4().hex


def guarded(**settings):
    """An application that says how much it was sent, behind a guard."""
    app = FastAPI()
    install(app)

    @app.api_route("/{path:path}", methods=["GET", "POST", "DELETE"])
    async def echo(request: Request):
        return PlainTextResponse(str(len(await request.body())))

    settings = ConsoleSettings(KAFKA, **settings)
    app.add_middleware(Guard, settings=settings, keys=Keys(settings.token))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOME)


@pytest.mark.parametrize("host", ["127.0.0.1:8470", "localhost", "LOCALHOST:1", "[::1]:8470"])
async def test_it_answers_to_its_own_names(host):
    async with guarded() as client:
        assert (await client.get("/x", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8470", "", "localhost."])
async def test_another_name_is_refused_whatever_it_points_to(host):
    async with guarded() as client:
        answer = await client.get("/x", headers={"Host": host})
        assert (answer.status_code, answer.json()["code"]) == (421, "unknown_host")
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_name_that_is_set_is_its_own_too():
    async with guarded(hosts=("models.example",)) as client:
        answer = await client.get("/x", headers={"Host": "models.example:443"})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_another_site_s_page_changes_nothing(headers):
    async with guarded() as client:
        for method in ("POST", "DELETE"):
            answer = await client.request(method, "/api/spaces", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": HOME}, {"Origin": HOME, "Sec-Fetch-Site": "same-origin"}]
)
async def test_a_program_and_a_page_of_its_own_may(headers):
    async with guarded() as client:
        assert (await client.post("/api/spaces", headers=headers, json={})).status_code == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]
)
async def test_what_a_form_can_send_is_no_command(kind):
    async with guarded() as client:
        answer = await client.post("/api/spaces", content=b"{}", headers={"Content-Type": kind})
        assert answer.status_code == 415


async def test_a_token_is_asked_of_everyone_but_probes():
    async with guarded(token=TOKEN) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
            answer = await client.get("/api/spaces", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        right = await client.get("/api/spaces", headers={"Authorization": f"Bearer {TOKEN}"})
        assert right.status_code == 200
        assert (await client.get("/v2/health/live")).status_code == 200
        # Nothing hides behind the probes' path.
        assert (await client.get("/v2/healthy")).status_code == 401


async def test_a_browser_is_led_to_the_login_and_its_cookie_is_enough():
    async with guarded(token=TOKEN) as client:
        page = await client.get("/spaces/a", headers={"Accept": "text/html,*/*"})
        assert (page.status_code, page.headers["location"]) == (303, "/login?next=/spaces/a")
        cookie = f"{SESSION_COOKIE}={Keys(TOKEN).session()}"
        assert (await client.get("/x", headers={"Cookie": cookie})).status_code == 200
        forged = f"{SESSION_COOKIE}={Keys('other').session()}"
        assert (await client.get("/x", headers={"Cookie": forged})).status_code == 401


SIGNED_OUT = {"Accept": "text/html"}


@pytest.mark.parametrize(
    ("method", "path", "referer", "location"),
    [
        ("GET", "/a/replace?asset_id=b", None, "/login?next=/a/replace%3Fasset_id%3Db"),
        ("POST", "/spaces", f"{HOME}/a?b=c", "/login?next=/a%3Fb%3Dc&unsent=yes"),
        ("POST", "/spaces", None, "/login?next=/&unsent=yes"),
        ("POST", "/spaces", "http://evil.example/a", "/login?next=/&unsent=yes"),
        ("POST", "/spaces", f"{HOME}//evil.example", "/login?next=/&unsent=yes"),
        ("POST", "/spaces", "http://[half", "/login?next=/&unsent=yes"),
    ],
)
async def test_who_is_signed_out_comes_back_to_the_page_before(method, path, referer, location):
    async with guarded(token=TOKEN) as client:
        sent = SIGNED_OUT | ({"Referer": referer} if referer else {})
        answer = await client.request(method, path, headers=sent)
        assert (answer.status_code, answer.headers["location"]) == (303, location)


@pytest.mark.parametrize(
    ("goal", "location"),
    [
        ("/deployments/a?asset_id=b", "/deployments/a?asset_id=b"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("http://evil.example", "/"),
        # A browser would leave the tab out.
        ("/\t/evil.example", "/%09/evil.example"),
        ("", "/"),
    ],
)
async def test_a_login_leads_nowhere_else(goal, location):
    app = FastAPI()
    app.state.services = SimpleNamespace(keys=Keys(TOKEN), feed=SimpleNamespace(cursor="0"))
    app.include_router(login.router)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url=HOME, params={"next": goal}
    ) as client:
        wrong = await client.post("/login", data={"token": "x"})
        assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, True)
        assert SESSION_COOKIE not in wrong.headers["set-cookie"]
        assert "This is not the token" in wrong.text
        # Whoever has not shown the token is told nothing.
        assert "data-cursor" not in wrong.text
        right = await client.post("/login", data={"token": TOKEN})
        assert (right.status_code, right.headers["location"]) == (303, location)
        assert SESSION_COOKIE in right.headers["set-cookie"]


async def chunks(size):
    for _ in range(size // 65536 + 1):
        yield b"x" * 65536


async def test_a_body_has_a_limit_whether_it_says_its_length_or_not():
    async with guarded(upload_bytes=BODY_BYTES * 2) as client:
        too_long = b"x" * (BODY_BYTES + 1)
        for body in (too_long, chunks(BODY_BYTES)):
            answer = await client.post("/api/spaces", content=body)
            assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert (await client.post(UPLOAD_PATH, content=too_long)).status_code == 200
        answer = await client.post(UPLOAD_PATH, content=chunks(BODY_BYTES * 2))
        assert answer.status_code == 413


async def test_every_answer_tells_the_browser_its_policy():
    async with guarded(token=TOKEN) as client:
        for answer in (await client.get("/x"), await client.get("/v2/health/live")):
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
        assert (await client.get("/static/x")).headers["cache-control"] == "no-cache"


async def test_a_page_s_form_is_taken_from_the_browser_it_was_made_for_alone():
    app = FastAPI()
    install(app)
    app.state.services = SimpleNamespace(keys=Keys(None))

    @app.get("/page")
    async def page(request: Request):
        response = PlainTextResponse(forms.token(request))
        forms.keep(request, response)
        return response

    @app.post("/page")
    async def post(form: forms.Sent):
        return PlainTextResponse(form["name"])

    def browser():
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOME)

    async with browser() as mine, browser() as other:
        token = (await mine.get("/page")).text
        # The browser keeps its cookie: a second page's form goes with the first's.
        assert (await mine.get("/page")).text == token
        form = {"name": "clinic", forms.CSRF_FIELD: token}
        assert (await mine.post("/page", data=form)).text == "clinic"
        await other.get("/page")
        for client, data in ((other, form), (mine, {"name": "clinic"})):
            refused = await client.post("/page", data=data)
            assert (refused.status_code, refused.json()["code"]) == (403, "form_expired")


def test_a_form_fits_its_own_browser_alone():
    keys = Keys(None)
    assert keys.form_fits("browser", keys.form("browser"))
    for secret, token in (("other", keys.form("browser")), (None, "x"), ("browser", "")):
        assert not keys.form_fits(secret, token)
    # A page from before a restart has expired, unless there is a token.
    assert not Keys(None).form_fits("browser", keys.form("browser"))
    assert Keys("t").form_fits("browser", Keys("t").form("browser"))
