// The sections of a model's view: from what the server says to elements.

import { badge, h, mark, table } from "./dom.js";
import { bytes, count, duration, milliseconds, number, percent, rate, since } from "./format.js";
import { against, spaced } from "./list.js";
import { latencies, throughputs } from "./plots.js";

const TITLES = { validate: "Validate", optimize: "Optimize", benchmark: "Benchmark", loadtest: "Load test", probe: "Probe", serve: "Serve" };
const STATES = { Done: "done", Running: "running", Failed: "failed", Waiting: "waiting" };
const ROLES = { serves: "serves", next: "next", earlier: "earlier" };
const SOURCES = { asked: "Asked for", served: "Served, before traffic", session: "Benchmark session", before: "Compared with" };

function section(title, ...content) {
  return h("section", {}, h("h2", {}, title), content);
}

export function head({ row, source, observed, generation }) {
  const command = `kubectl -n ${row.namespace} get onnxmodel ${row.name} -o yaml`;
  return h("header", { class: "head" },
    h("p", { class: "soft" }, row.namespace),
    h("h1", {}, row.name),
    h("p", { class: "line" }, badge(row.health),
      row.phase !== row.health && row.phase !== "Failed" ? h("span", { class: "tag" }, spaced(row.phase)) : null,
      row.available && !["Ready", "Degraded"].includes(row.health) ? h("span", { class: "tag good" }, "a revision serves") : null,
      observed ? null : h("span", { class: "tag" }, `generation ${generation} not observed yet`),
      h("span", { class: "soft" }, "created ", since(row.created, " ago"))),
    row.message && row.health !== "Stalled" && h("p", { class: "lead" }, row.message),
    h("p", { class: "soft" }, h("code", {}, source)),
    h("p", { class: "soft" }, h("code", {}, command)));
}

export function failure(failed, row) {
  if (!failed) return null;
  return h("section", { class: row.health === "Stalled" ? "callout bad" : "callout" },
    h("h2", {}, mark(row.health === "Stalled" ? "Stalled" : "Degraded"), `${failed.reason}`, h("span", { class: "soft" }, ` in ${failed.stage}`)),
    h("p", {}, failed.message),
    failed.hint && h("p", {}, h("strong", {}, "What to do: "), failed.hint),
    h("p", { class: "soft" }, [failed.field && ["field ", h("code", {}, failed.field), " · "], failed.attempts > 1 && `${failed.attempts} attempts · `, failed.exitCode !== undefined && `exit code ${failed.exitCode} · `, since(failed.time, " ago")]));
}

export function pipeline(links) {
  return section("Pipeline", h("ol", { class: "pipeline" }, links.map((link) =>
    h("li", { class: link.state },
      h("span", { class: "step" }, mark(link.state), h("b", {}, TITLES[link.name] ?? link.name), h("span", { class: "unseen" }, `: ${STATES[link.state]}`)),
      h("span", { class: "soft" }, times(link)),
      link.message && link.state !== "Waiting" ? h("span", { class: "told" }, link.message) : null))));
}

function times(link) {
  if (link.earlier) return "waits; ran for an earlier spec";
  if (link.state === "Waiting") return "waits";
  if (link.state === "Running") return link.began ? ["for ", since(link.began)] : "in progress";
  const took = link.seconds !== null ? duration(link.seconds) : "";
  return [took, took && link.ended ? " · " : "", link.ended ? since(link.ended, " ago") : ""];
}

export function rollout({ rollout: found, traffic, upgrade }) {
  const refused = found?.refused ?? [];
  if (!traffic?.length && !found?.strategy && !refused.length && !upgrade) return null;
  return section("Rollout",
    found?.strategy && h("p", {}, h("span", { class: "tag" }, found.strategy), " ", found.why ? `${found.why}. ` : "",
      found.step ? `Step ${found.step} of ${found.steps}: ${found.weight} % of the traffic${found.backend ? ` by ${found.backend}` : ""}.` : ""),
    found?.gate && h("p", {}, found.gate),
    traffic?.length ? h("ul", { class: "traffic" }, traffic.map((share) => h("li", {},
      h("span", {}, h("code", {}, share.revision), ` ${share.wanted} %`, h("span", { class: "soft" }, share.measured === undefined ? "" : ` · ${share.measured} % measured`)),
      h("progress", { max: 100, value: share.measured ?? share.wanted, "aria-label": `traffic of ${share.revision}` })))) : null,
    refused.map((one) => h("p", { class: "callout" }, h("strong", {}, `${one.revision}: ${one.reason}. `), one.message, one.hint ? ` ${one.hint}` : "")),
    upgrade && h("p", {}, h("span", { class: "tag" }, `Upgrade ${upgrade.state.toLowerCase()}`), " ", upgrade.message));
}

export function figures({ figures: rows, limits, row }) {
  if (!rows.length) return null;
  const served = rows.find((one) => one.source === "served") ?? rows.find((one) => one.source === "session");
  const tile = (title, value, ...more) => h("li", {}, h("span", { class: "soft" }, title), h("b", {}, value), h("span", { class: "soft" }, more));
  return section("Figures",
    served && h("ul", { class: "tiles" },
      tile("p99", milliseconds(served.p99), against(served.p99, limits.p99_milliseconds, "most", milliseconds) ?? "no limit in the spec"),
      tile("p50", milliseconds(served.p50), served.noisy ? "noisy" : SOURCES[served.source].toLowerCase()),
      tile("Throughput", rate(served.throughput), against(served.throughput, limits.throughput_per_second, "least", rate) ?? `${row.unit} of one replica`),
      tile("Replicas", row.replicas || "–", "ready / desired")),
    table("Figures", [["Figure", ""], ["p50", "number"], ["p95", "number"], ["p99", "number"], ["Throughput", "number"], ["Measured", ""]],
      rows.map((one) => h("tr", {}, h("th", { scope: "row" }, SOURCES[one.source], h("span", { class: "soft" }, one.name)),
        [one.p50, one.p95, one.p99].map((value) => h("td", { class: "number" }, milliseconds(value))),
        h("td", { class: "number" }, rate(one.throughput)), h("td", { class: "text soft" }, one.where, one.noisy ? " (noisy)" : "")))));
}

export function plots({ status, limits, row }) {
  const found = status.variants ?? [];
  const first = latencies(found, limits.p99_milliseconds);
  if (!first) return null;
  return section("Benchmark of the variants",
    status.benchmark?.reason && h("p", { class: "lead" }, status.benchmark.reason),
    h("div", { class: "pair" },
      h("figure", {}, h("figcaption", {}, "Latency"), first),
      h("figure", {}, h("figcaption", {}, "Throughput"), throughputs(found, limits.throughput_per_second, row.unit))),
    h("p", { class: "soft" }, "Measured as sessions in one process. The chosen variant is in colour; hollow is noisy; dashed is what the spec demands."));
}

export function variants(found) {
  if (!found?.length) return null;
  return section("Variants",
    table("Variants", [["Variant", ""], ["Size", "number"], ["Saved", "number"], ["Parity", ""], ["p50", "number"], ["p99", "number"], ["Throughput", "number"], ["Why", ""]],
      found.map((one) => h("tr", { class: one.selected ? "chosen" : "" },
        h("th", { scope: "row" }, one.name, one.selected && h("span", { class: "tag good" }, "chosen")),
        h("td", { class: "number" }, bytes(one.bytes)), h("td", { class: "number" }, percent(one.savedPercent)),
        h("td", {}, parity(one.parity)),
        h("td", { class: "number" }, milliseconds(one.measured?.p50Milliseconds)), h("td", { class: "number" }, milliseconds(one.measured?.p99Milliseconds)),
        h("td", { class: "number" }, rate(one.measured?.throughputPerSecond)),
        h("td", { class: "text" }, one.reason, one.satisfiesConstraints === false ? h("span", { class: "tag bad" }, "misses constraints") : null)))));
}

function parity(found) {
  if (!found) return "–";
  return h("span", { class: "line", title: `output ${found.output}: largest absolute difference ${found.maxAbsolute}, relative ${found.maxRelative}, cosine ${found.cosine}` },
    mark(found.passed ? "Ready" : "Stalled"), found.passed ? "same outputs" : "differs", found.maxAbsolute > 0 && h("span", { class: "soft" }, `± ${found.maxAbsolute < 0.001 ? found.maxAbsolute.toExponential(1) : number(found.maxAbsolute)}`));
}

export function findings(found) {
  if (!found?.length) return null;
  const icons = { error: "Stalled", warning: "Degraded", info: "Waiting" };
  return section("Findings", h("ul", { class: "findings" }, found.map((one) => h("li", { class: one.severity },
    h("p", {}, mark(icons[one.severity]), h("b", {}, one.message), h("span", { class: "soft" }, ` ${one.severity}, `, h("code", {}, one.id), one.target && [", ", h("code", {}, one.target)])),
    h("p", {}, one.fix)))));
}

export function revisions(found) {
  if (!found.length) return null;
  return section("Revisions",
    table("Revisions", [["Revision", ""], ["Variant", ""], ["Provider", ""], ["p99", "number"], ["Throughput", "number"], ["Since", "number"], ["Notes", ""]],
      found.map((one) => h("tr", { class: one.role === "serves" ? "chosen" : "" },
        h("th", { scope: "row" }, h("code", {}, one.revision), h("span", { class: one.role === "serves" ? "tag good" : "tag" }, ROLES[one.role])),
        h("td", {}, one.variant), h("td", {}, one.provider || "–"),
        h("td", { class: "number" }, milliseconds(one.p99)), h("td", { class: "number" }, rate(one.throughput)), h("td", { class: "number" }, since(one.time)),
        h("td", { class: "text soft" }, [one.share !== null && `${one.share} % of the traffic. `, one.missed])))));
}

export function conditions(found) {
  if (!found?.length) return null;
  const stalled = found.some((one) => one.type === "Stalled" && one.status === "True");
  const state = (one) => {
    if (["Stalled", "Degraded", "Reconciling"].includes(one.type)) return one.status === "True" ? one.type : "Ready";
    if (one.status === "True") return "Ready";
    return one.status === "False" && stalled ? "Stalled" : "Waiting"; // what is worked on is not True yet
  };
  return section("Conditions",
    table("Conditions", [["Condition", ""], ["Status", ""], ["Reason", ""], ["Message", ""], ["Since", "number"]],
      found.map((one) => h("tr", {}, h("th", { scope: "row" }, one.type),
        h("td", {}, h("span", { class: "line" }, mark(state(one)), one.status)), h("td", {}, one.reason), h("td", { class: "text" }, one.message),
        h("td", { class: "number" }, since(one.lastTransitionTime)))), "stacked"));
}

export function events(found, problem) {
  if (!found.length && !problem) return null;
  return section("Events", problem && h("p", { class: "soft" }, problem),
    found.length ? table("Events", [["Last seen", ""], ["Type", ""], ["Reason", ""], ["Message", ""], ["Count", "number"]],
      found.map((one) => h("tr", {}, h("td", {}, since(one.seen, " ago")), h("td", {}, h("span", { class: "line" }, mark(one.type === "Warning" ? "Degraded" : "Waiting"), one.type)),
        h("td", {}, one.reason), h("td", { class: "text" }, one.message), h("td", { class: "number" }, `${count(one.count)} ×`))), "stacked") : null);
}

export function about({ status }) {
  const { model, serving, autoscaling, benchmark } = status;
  if (!model && !serving) return null;
  const tensors = (found) => h("ul", { class: "tensors" }, found.map((one) => h("li", {}, h("code", {}, one.name), ` ${one.datatype} `, h("span", { class: "soft" }, one.shape.length ? one.shape.map((size) => (size < 0 ? "?" : count(size))).join(" × ") : "scalar"))));
  const rows = [
    serving && ["URL", h("code", {}, serving.url)],
    serving && ["gRPC", h("code", {}, serving.grpc)],
    serving?.provider && ["Provider", `${serving.provider}${serving.providerSharePercent !== undefined ? `, ${percent(serving.providerSharePercent)} of the nodes` : ""}, ${serving.runtime}`],
    serving?.batching && ["Batching", serving.batching.joined ? "concurrent requests are joined" : serving.batching.reason],
    autoscaling && ["Autoscaling", [autoscaling.backend, autoscaling.target !== undefined && `${number(autoscaling.target)} ${autoscaling.metric === "RowsPerSecond" ? "rows per second" : "pending requests"} of each replica`, autoscaling.coldStartSeconds !== undefined && `cold start ${duration(autoscaling.coldStartSeconds)}`].filter(Boolean).join(", ")],
    model && ["Inputs", tensors(model.inputs)],
    model && ["Outputs", tensors(model.outputs)],
    model && ["Graph", `${count(model.nodes)} nodes, ${count(model.parameters)} parameters, ${bytes(model.bytes)}, opset ${model.opset}, IR ${model.irVersion}`],
    model && ["Producer", model.producer],
    model?.unbatched && ["No batch axis", model.unbatched],
    model && ["SHA-256", h("code", {}, model.sha256)],
    model?.signer && ["Signed by", model.signer],
    benchmark && ["Measured on", `${[benchmark.accelerator, benchmark.processor].filter(Boolean).join(", ")}, ${number(benchmark.cores)} cores`],
    benchmark && ["Versions", Object.entries(benchmark.versions).map(([name, version]) => `${name} ${version}`).join(", ")],
  ];
  return section("About", h("dl", {}, rows.filter(Boolean).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}
