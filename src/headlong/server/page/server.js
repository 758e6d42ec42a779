// What the page asks of the server, and what the server's refusals mean in words.

/** An answer of the server that is not the one that was asked for. */
class ServerError extends Error {
  constructor(status, error = {}, retryAfter = null) {
    super(error.message || `The server answered with status ${status}.`);
    this.status = status;
    this.kind = `${error.code ?? ""} ${error.type ?? ""}`;
    this.retryAfter = retryAfter;
  }
}

/** The connection was refused or broke off. */
class ConnectionLost extends Error {}

class Server {
  constructor() {
    this.key = keep.get("key", "");
  }

  useKey(key) {
    this.key = key;
    keep.set("key", key);
  }

  /** {ready, reachable, progress, stage, status}: whether the model is loaded, or how far it is. */
  async health() {
    try {
      const response = await fetch("health", { cache: "no-store" });
      if (response.ok) return { ready: true, reachable: true };
      const body = await response.json().catch(() => ({}));
      const progress = body.progress ?? body.error?.progress ?? null;
      const { status } = response;
      const reachable = status === 503;
      return { ready: false, reachable, progress, status, stage: body.stage ?? body.status };
    } catch {
      return { ready: false, reachable: false };
    }
  }

  async get(path) {
    const response = await this.#fetch(path, {});
    return response.json();
  }

  /** The events of a streamed answer, parsed.  Raises where the stream ends before `[DONE]`. */
  async *answer(body, signal) {
    const response = await this.#fetch("v1/chat/completions", {
      method: "POST",
      body: JSON.stringify(body),
      headers: { "Content-Type": "application/json" },
      signal,
    });
    for await (const data of readEvents(response.body)) {
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new ServerError(200, event.error);
      yield event;
    }
    throw new ConnectionLost();
  }

  async #fetch(path, options) {
    const headers = { ...options.headers };
    if (this.key) headers.Authorization = `Bearer ${this.key}`;
    let response;
    try {
      response = await fetch(path, { ...options, headers, cache: "no-store" });
    } catch (error) {
      throw error.name === "AbortError" ? error : new ConnectionLost();
    }
    if (response.ok) return response;
    const body = await response.json().catch(() => ({}));
    const wait = parseInt(response.headers.get("Retry-After") ?? "", 10);
    throw new ServerError(response.status, body.error, Number.isNaN(wait) ? null : wait);
  }
}

/** The data of server-sent events; comments and other fields are skipped. */
async function* readEvents(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) yield line.slice(5).trim();
      }
    }
  } catch (error) {
    throw error.name === "AbortError" ? error : new ConnectionLost();
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** What went wrong, in sentences for the reader. */
function explain(error) {
  if (error instanceof ConnectionLost) {
    return "The connection to the server was lost. Try again when the server is back.";
  }
  if (!(error instanceof ServerError)) return `The page met an error: ${error.message}`;
  if (error.status === 401) return "The server asks for an API key, or does not know this one.";
  if (error.status === 429) {
    const wait = error.retryAfter;
    const when = wait ? ` It asks to try again in ${wait} ${wait === 1 ? "second" : "seconds"}.` : "";
    return `The server is busy and its queue is full.${when}`;
  }
  if (/context/.test(error.kind) && [200, 400].includes(error.status)) {
    return (
      `The conversation no longer fits into the server's context. ${error.message} ` +
      "Start a new conversation, or shorten a message and send it again."
    );
  }
  if (error.status === 200) return `The server broke off the answer: ${error.message}`;
  if (error.status === 503) return `The server cannot answer now: ${error.message}`;
  if (error.status === 504) return `The server gave up on the answer: ${error.message}`;
  if (error.status === 413) return "The conversation is larger than the server accepts.";
  if (error.status === 400) return `The server refused the request: ${error.message}`;
  return `The server failed: ${error.message}`;
}
