"""The page of all models in a real Chromium, on a real API server, with the rights that the chart gives it.

Needs chromium: on PATH, or named by ONNXMODEL_CHROMIUM. ONNXMODEL_SCREENSHOTS names a folder where the pictures stay.
"""

import json
import os
import subprocess
import uuid
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
import yaml

from dev import fleet
from dev.chromium import PROGRAM, browsing
from dev.cluster.golang import program
from dev.kube import until
from dev.page import serving
from tests.integration.support import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one browser for all
SORT = "[...document.querySelectorAll('thead button')].find((one) => one.innerText.startsWith('p99')).click()"
FIGURES = """[...document.querySelectorAll('td[data-label=p99]')].map((one) => parseFloat(one.innerText))
  .filter((one) => !isNaN(one))"""
HOSTILE = "</script><img src=x onerror=\"document.title='stolen'\"><b>bold</b> & ${1}"
LIVE = "document.querySelector('.live').dataset.state === 'Live'"
ROWS = "document.querySelectorAll('.models tbody tr').length"
SHOWN = "document.querySelectorAll('.sections > section').length"


class Platform:
    """A namespace with models in every state, and accounts."""

    def __init__(self, kube, folder):
        self.kube, self.folder, self.release = kube, folder, f"r{kube.namespace[-8:]}"
        self.items = [fleet.model(number, datetime.now(UTC)) for number in range(len(fleet.STATES))]

    def fill(self):
        specs = [{**item, "metadata": {"name": item["metadata"]["name"]}} for item in self.items]
        self.kube.create(*({key: value for key, value in item.items() if key != "status"} for item in specs))
        for item in self.items:
            self.write(item["metadata"]["name"], item["status"])

    def write(self, name, status):
        self.kube.patch("onnxmodel", name, {"status": status}, subresource="status")

    def chart(self, **page):
        """What the chart has of the page."""
        values = {"page": {"enabled": True, **page}, "crds": {"enabled": False}}
        command = [program("helm"), "template", self.release, ROOT / "charts" / "onnxmodel-operator", "--values=-"]
        command += ["--namespace", self.kube.namespace, "--show-only=templates/page.yaml"]
        return subprocess.run(
            [*map(str, command)], input=json.dumps(values), capture_output=True, text=True, check=True
        ).stdout

    def token(self, account):
        return self.kube.run("create", "token", account).strip()

    def kubeconfig(self, account):
        """With the token of an account, as its pod has it."""
        config = json.loads(Path(self.kube.kubeconfig).read_text())
        config["users"][0]["user"] = {"token": self.token(account)}
        path = self.folder / f"{account}.kubeconfig"
        path.write_text(json.dumps(config))
        return path


@pytest.fixture(scope="module")
def platform(control_plane, tmp_path_factory):
    name = f"page-{uuid.uuid4().hex[:8]}"
    control_plane.run("create", "namespace", name)
    kube = control_plane.within(name)
    until("the namespace's ServiceAccount", lambda: kube.get("serviceaccount", "default"))
    made = Platform(kube, tmp_path_factory.mktemp("page"))
    made.fill()
    rendered = made.chart(auth="ServiceAccount")
    kube.run("apply", "-f", "-", stdin=rendered)
    yield made
    kube.run("delete", "-f", "-", "--ignore-not-found", "--wait=false", stdin=rendered)
    control_plane.run("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def own(platform):
    """The page with the account of the chart."""
    account = f"{platform.release}-onnxmodel-operator-page"
    environment = {**os.environ, "KUBECONFIG": str(platform.kubeconfig(account))}
    with serving(environment, "--auth=ServiceAccount") as page:
        yield page.address


@pytest.fixture(scope="module")
def users(platform):
    """The page for users. Its kubeconfig is the administrator's, which it must not use."""
    with serving(platform.kube.environment(), "--auth=User") as page:
        yield page.address


@pytest.fixture(scope="module")
def tokens(platform):
    """Of somebody who may see the namespace, of one who may see no events, and of one who may see nothing."""
    kube = platform.kube
    rule = {"apiGroups": ["onnx-operator.dev"], "resources": ["onnxmodels"], "verbs": ["get", "list", "watch"]}
    events = {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]}
    api, found = "rbac.authorization.k8s.io/v1", {}
    for name, rules in {"sees": [rule, events], "half": [rule], "blind": []}.items():
        meta = {"name": name}
        kube.create(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
            {"apiVersion": api, "kind": "Role", "metadata": meta, "rules": rules},
            {"apiVersion": api, "kind": "RoleBinding", "metadata": meta,
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
             "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": kube.namespace}]},
        )  # fmt: skip
        found[name] = platform.token(name)
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    if not PROGRAM:
        pytest.skip("no browser: neither chromium on PATH nor ONNXMODEL_CHROMIUM is set")
    async with browsing() as tab:
        yield tab


@pytest_asyncio.fixture(loop_scope="module")
async def tab(browser):
    """The browser's page, as if it were new."""
    browser.complaints.clear()
    browser.requested.clear()
    await browser.look(1360, 900)
    yield browser
    assert browser.complaints == []
    assert [url for url in browser.requested if "//127.0.0.1:" not in url and url != "about:blank"] == []


def address(own, platform, path=""):
    return f"{own}/#/{path}?in={platform.kube.namespace}"


def view(own, platform, name):
    return address(own, platform, f"models/{platform.kube.namespace}/{name}")


def name_of(state):
    return fleet.model(fleet.STATES.index(state))["metadata"]["name"]


# ---- rights ----------------------------------------------------------------------------------------------------------


async def test_the_account_of_the_chart_reads_models_and_events_and_nothing_else(platform):
    account = f"{platform.release}-onnxmodel-operator-page"
    who = f"--as=system:serviceaccount:{platform.kube.namespace}:{account}"

    told = platform.kube.run("auth", "can-i", "--list", "--no-headers", who)
    rules = [line for line in told.splitlines() if not line.startswith((" ", "selfsubject"))]
    assert {tuple(line.replace("[]", "").split(maxsplit=1)) for line in rules} == {
        ("events", "[list]"),
        ("onnxmodels.onnx-operator.dev", "[get list watch]"),
    }


async def test_for_users_the_chart_gives_no_right_and_no_token(platform):
    made = list(yaml.safe_load_all(platform.chart(auth="User")))
    assert {item["kind"] for item in made} == {"ServiceAccount", "Deployment", "Service"}
    (pod,) = [item["spec"]["template"]["spec"] for item in made if item["kind"] == "Deployment"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["volumes"] == [{"name": "authority", "configMap": {"name": "kube-root-ca.crt"}}]
    platform.kube.run("apply", "--dry-run=server", "-f", "-", stdin=platform.chart(auth="User"))


async def ask(url, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as answer:
        return answer.status, await answer.json()


async def test_everybody_sees_what_kubernetes_lets_them_see(platform, users, tokens):
    space = platform.kube.namespace
    listed, here = f"{users}/api/models", f"{users}/api/models?namespace={space}"
    one = f"{users}/api/models/{space}/{name_of('ready')}"

    for url in (listed, here, one):
        assert (await ask(url))[0] == 401, "not even the administrator's kubeconfig helps a request without a token"
        assert (await ask(url, "wrong"))[0] == 401
        status, told = await ask(url, tokens["blind"])
        assert status == 403
        assert "blind" in told["message"]
        assert "onnxmodels" in told["message"]

    assert (await ask(listed, tokens["sees"]))[0] == 403
    status, told = await ask(here, tokens["sees"])
    assert status == 200
    assert len(told["rows"]) == len(fleet.STATES)
    assert (await ask(one, tokens["sees"]))[1]["events_problem"] == ""
    status, told = await ask(one, tokens["half"])
    assert status == 200
    assert "cannot list resource" in told["events_problem"]


async def test_a_right_that_is_taken_away_ends(platform, users, tokens):
    """The model's view asks each time. For the list, see the lifetime of a watch."""
    one = f"{users}/api/models/{platform.kube.namespace}/{name_of('ready')}"
    assert (await ask(one, tokens["half"]))[0] == 200
    platform.kube.delete("rolebinding", "half")

    async def refused():
        return (await ask(one, tokens["half"]))[0] == 403

    for _ in range(200):
        if await refused():
            break
    assert await refused()


# ---- in the browser --------------------------------------------------------------------------------------------------


async def test_every_state_is_in_the_list_and_trouble_comes_first(platform, own, tab):
    await tab.open(address(own, platform))
    await tab.until(f"{ROWS} === {len(fleet.STATES)} && {LIVE}")
    shown = await tab.evaluate("[...document.querySelectorAll('.models .badge')].map((one) => one.innerText)")
    assert shown == ["Stalled"] * 2 + ["Degraded"] + ["Reconciling"] * 5 + ["Suspended"] * 2 + ["Ready"] * 3
    counts = await tab.evaluate("[...document.querySelectorAll('.chip b')].map((one) => one.innerText)")
    assert counts == ["13", "2", "1", "5", "2", "3"]


async def test_search_filters_order_and_address(platform, own, tab):
    await tab.open(address(own, platform))
    await tab.until(f"{ROWS} === {len(fleet.STATES)}")
    await tab.press("/", "/")
    for letter in "opset":
        await tab.press(letter, letter)
    await tab.until(f"{ROWS} === 1")
    assert "q=opset" in await tab.evaluate("location.hash")
    assert await tab.evaluate("document.activeElement.id") == "search"
    await tab.evaluate(
        "document.querySelector('#search').value = ''; document.querySelector('#search').dispatchEvent(new Event('input'))"
    )
    await tab.evaluate("document.querySelector('.chip.Suspended').click()")
    await tab.until(f"{ROWS} === 2")
    await tab.evaluate("document.querySelector('.chip.Suspended').click()")
    await tab.evaluate(SORT)
    assert (found := await tab.evaluate(FIGURES)) == sorted(found)
    assert len(found) == 8
    await tab.evaluate(SORT)
    assert await tab.evaluate(FIGURES) == found[::-1]
    kept = await tab.evaluate("location.href")
    await tab.open(kept)
    await tab.until(f"{ROWS} === {len(fleet.STATES)}")
    assert await tab.evaluate(FIGURES) == found[::-1], "an address shows what it showed"


async def test_every_state_has_a_view(platform, own, tab):
    for state in fleet.STATES:
        await check_view(platform, own, tab, state)


async def check_view(platform, own, tab, state):
    await tab.open(view(own, platform, name_of(state)))
    # Soon: a page that was left holds no connection, of which a browser has six.
    await tab.until(f"{SHOWN} >= 1 && document.querySelector('h1').innerText === '{name_of(state)}'", 20)
    titles = set(await tab.evaluate("[...document.querySelectorAll('.sections h2')].map((one) => one.innerText)"))
    assert "Pipeline" in titles
    assert ("Findings" in titles) is (state in ("stalled", "warned"))
    assert ("Rollout" in titles) is (state == "canary")
    text = await tab.evaluate("document.body.innerText")
    assert ("What to do:" in text) is state.startswith("stalled")
    plots = await tab.evaluate(
        "[...document.querySelectorAll('svg.plot')].map((one) => one.getAttribute('aria-label'))"
    )
    assert [words.partition(" of")[0] for words in plots] == (
        ["Latency", "Throughput"] if "Benchmark of the variants" in titles else []
    )
    assert all("fp16: " in words for words in plots)


async def test_changes_come_by_themselves(platform, own, tab):
    await tab.open(address(own, platform))
    await tab.until(f"{ROWS} === {len(fleet.STATES)} && {LIVE}")
    await tab.evaluate("window.same = true")
    name = name_of("stalled")
    row = f"document.querySelector('[data-key=\"{platform.kube.namespace}/{name}\"]')"
    await tab.evaluate(f"{row}.focus()")
    before = next(item["status"] for item in platform.items if item["metadata"]["name"] == name)
    try:
        platform.write(name, {"message": "somebody has changed this"})
        await tab.until(f"{row}.closest('tr').innerText.includes('somebody has changed this')")
        assert await tab.evaluate(f"document.activeElement === {row}"), "the focus stays with the row"
        platform.kube.create({**fleet.model(0), "metadata": {"name": "another"}})
        await tab.until(f"{ROWS} === {len(fleet.STATES) + 1}")
        platform.kube.delete("onnxmodel", "another", wait=False)
        await tab.until(f"{ROWS} === {len(fleet.STATES)}")

        await tab.evaluate(f"{row}.click()")
        await tab.until("document.querySelector('.callout')?.innerText.includes('OpsetTooLow')")
        platform.write(name, {"lastFailure": {"message": "another failure"}})
        await tab.until("document.querySelector('.callout').innerText.includes('another failure')")
        event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "told"}, "type": "Warning", "reason": "Told",
                 "message": HOSTILE, "lastTimestamp": "2026-01-01T00:00:00Z"}  # fmt: skip
        uid = platform.kube.get("onnxmodel", name)["metadata"]["uid"]
        about = {"kind": "OnnxModel", "name": name, "namespace": platform.kube.namespace, "uid": uid}
        platform.kube.create({**event, "involvedObject": about})
        platform.write(name, {"lastFailure": {"message": "a third failure"}})
        await tab.until("document.body.innerText.includes('onerror=')")
        assert await tab.evaluate("window.same"), "without a reload"
    finally:
        platform.write(name, before)


async def test_words_of_a_model_are_text(platform, own, tab):
    name = name_of("warned")
    before = next(item["status"] for item in platform.items if item["metadata"]["name"] == name)
    hostile = {
        **before,
        "phase": "Ready",
        "message": HOSTILE,
        "findings": [{**before["findings"][0], "message": HOSTILE}],
    }
    hostile["serving"] = {**before["serving"], "provider": HOSTILE, "url": "javascript:alert(1)"}
    try:
        platform.write(name, hostile)
        for url in (address(own, platform), view(own, platform, name)):
            await tab.open(url)
            await tab.until("document.body.innerText.includes('onerror=')")
            assert await tab.evaluate("document.querySelectorAll('main img, main b img, main script').length") == 0
            assert "stolen" not in await tab.evaluate("document.title")
            assert (
                await tab.evaluate("[...document.links].filter((one) => !one.href.startsWith(location.origin)).length")
                == 0
            )
    finally:
        platform.write(name, before)


async def test_who_may_not_list_all_names_a_namespace(platform, users, tokens, browser):
    await browser.call("Network.setExtraHTTPHeaders", headers={"Authorization": f"Bearer {tokens['sees']}"})
    try:
        await browser.open(users)
        await browser.until("document.querySelector('.refused h1').innerText === 'You may not see this'")
        assert "sees" in await browser.evaluate("document.querySelector('.refused p').innerText")
        await browser.evaluate(f"document.querySelector('#namespace').value = '{platform.kube.namespace}'")
        await browser.evaluate("document.querySelector('.ask button').click()")
        await browser.until(f"{ROWS} === {len(fleet.STATES)} && {LIVE}")
    finally:
        await browser.call("Network.setExtraHTTPHeaders", headers={})
    await browser.open(users)
    await browser.until("document.querySelector('.refused h1').innerText === 'You are not signed in'")


# Pairs of text and background whose contrast is under that of WCAG AA, by the colours that are really painted.
CONTRAST = """(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
  const light = (color) => color.map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => { const own = rgba(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, element.parentElement ? ground(element.parentElement) : [255, 255, 255]); };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const box = element.getBoundingClientRect();
    if (!walker.currentNode.data.trim() || box.width < 2 || element.closest(".unseen, svg, :disabled, noscript")) continue;
    const back = ground(element);
    const [a, b] = [light(over(rgba(getComputedStyle(element).color), back)), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(`${walker.currentNode.data.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return [...new Set(found)];
})()"""
WIDER = """[...document.querySelectorAll("main *, .bar *")].filter((one) => !one.closest(".wide, .chips, svg, .unseen, thead")
  && one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 820, 1360])
async def test_it_fits_every_screen_in_light_and_dark(platform, own, tab, width, dark, tmp_path):
    folder = Path(os.environ.get("ONNXMODEL_SCREENSHOTS") or tmp_path)
    await tab.look(width, 900, dark=dark, phone=width < 500)
    pages = {"list": (address(own, platform), f"{ROWS} === {len(fleet.STATES)} && {LIVE}")}
    for state in ("stalled-serving", "canary"):
        pages[state] = view(own, platform, name_of(state)), f"{SHOWN} > 7"
    for name, (url, ready) in pages.items():
        await tab.open(url)
        await tab.until(ready)
        assert await tab.evaluate("document.documentElement.scrollWidth") <= width, "only tables scroll sideways"
        assert await tab.evaluate(WIDER) == []
        assert await tab.evaluate(CONTRAST) == []
        ground = await tab.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (sum(ground) < 200) is dark
        picture = folder / f"{name}-{width}-{'dark' if dark else 'light'}.png"
        await tab.picture(picture, whole=True)
        assert picture.read_bytes().startswith(b"\x89PNG")


async def test_it_is_used_by_keyboard_and_screen_reader(platform, own, tab):
    await tab.open(address(own, platform))
    await tab.until(f"{ROWS} === {len(fleet.STATES)} && {LIVE}")
    await tab.press("Tab")
    assert await tab.evaluate("document.activeElement.innerText") == "Skip to the content"
    await tab.press("Enter")
    assert await tab.evaluate("document.activeElement.id") == "main"
    for _ in range(40):
        await tab.press("Tab")
        if await tab.evaluate("Boolean(document.activeElement.dataset.key)"):
            break
    key = await tab.evaluate("document.activeElement.dataset.key")
    await tab.press("Enter")
    await tab.until(f"{SHOWN} > 1 && document.querySelector('h1').innerText === '{key.split('/')[1]}'")
    assert await tab.evaluate("document.activeElement.id") == "main", "who reads by ear is taken to the new content"
    await tab.evaluate("history.back()")
    await tab.until(f"{ROWS} === {len(fleet.STATES)}")

    for url, kinds in (
        (
            address(own, platform),
            {"table", "row", "cell", "columnheader", "rowheader", "searchbox", "button", "link", "status"},
        ),
        (view(own, platform, name_of("ready")), {"heading", "list", "table", "region", "link"}),
    ):
        await tab.open(url)
        await tab.until(f"{ROWS} === {len(fleet.STATES)} || {SHOWN} > 6")
        nodes = (await tab.call("Accessibility.getFullAXTree"))["nodes"]
        told = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
        assert kinds <= {role for role, _ in told}
        speaking = {"button", "link", "searchbox", "combobox", "table", "region", "heading", "columnheader"}
        assert [role for role, name in told if role in speaking and not name.strip()] == []
