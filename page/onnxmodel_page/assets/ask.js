// What the page's server says: {status, data}. A proxy that wants a sign-in answers with a redirect or a page of its own.
export async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", redirect: "manual" });
  if (answer.type === "opaqueredirect") return { status: 401, data: { message: "The proxy asks you to sign in again." } };
  const data = await answer.json().catch(() => ({ message: `${answer.status} ${answer.statusText}` }));
  return { status: answer.status, data };
}
