// The address of what is shown: #/?q=…&health=… for the list, #/models/NAMESPACE/NAME for a model.

export function read() {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?", 2);
  const asked = new URLSearchParams(query);
  const [, models, namespace, name] = path.split("/").map(decode);
  return { asked, key: models === "models" && namespace && name ? `${namespace}/${name}` : null };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

export function list(asked) {
  const query = new URLSearchParams([...asked].filter(([, value]) => value)).toString();
  return query ? `#/?${query}` : "#/";
}

let shown = null;

// The list as it was shown last: the way back from a model leads there.
export const remember = (asked) => { shown = list(asked); };
export const last = () => shown;

export function model(key, asked) {
  const query = new URLSearchParams([...asked].filter(([, value]) => value)).toString();
  return `#/models/${key.split("/").map(encodeURIComponent).join("/")}${query ? `?${query}` : ""}`;
}

// Change some of the query without a new entry in the history: every letter of a search is not a page.
export function replace(asked, changes) {
  const next = new URLSearchParams(asked);
  for (const [name, value] of Object.entries(changes)) value ? next.set(name, value) : next.delete(name);
  history.replaceState(null, "", list(next));
  return next;
}
