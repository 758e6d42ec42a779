// One answer: read from its events, and shown.

/** Takes the events of a streamed answer into its message. */
class AnswerReader {
  constructor(message) {
    this.message = message;
    this.marks = { content: new Marks(), reasoning: new Marks() };
    this.progress = null; // of reading the prompt
    this.aligner = new Aligner();
    this.thinkingSince = 0;
  }

  read(event) {
    const { message } = this;
    const now = performance.now();
    if (event.prompt_progress) this.progress = event.prompt_progress;
    if (event.timings) message.timings = event.timings;
    if (event.usage) message.usage = event.usage;
    if (event.model) message.model = event.model;
    if (event.drafts?.tokens > 0) {
      this.aligner.feed(event.drafts);
      message.rounds.push(event.drafts.tokens);
      message.began ??= now;
      message.latest = now;
    }
    const choice = event.choices?.[0];
    if (choice) this.#readDelta(choice.delta ?? {}, now);
    if (choice?.finish_reason) message.finish = choice.finish_reason;
  }

  #readDelta(delta, now) {
    const { message } = this;
    if (delta.reasoning_content) {
      this.thinkingSince ||= now;
      this.#append("reasoning", delta.reasoning_content);
      message.thoughtSeconds = (now - this.thinkingSince) / 1000;
    }
    if (delta.content) {
      if (!message.content) {
        this.aligner.skipPast("</think>");
        if (this.thinkingSince) message.thoughtSeconds = (now - this.thinkingSince) / 1000;
      }
      this.#append("content", delta.content);
    }
  }

  #append(part, text) {
    this.marks[part].push(this.aligner.take(text));
    this.message[part] += text;
  }

  /** Write down what is kept of the marks. */
  settle() {
    this.message.contentRuns = this.marks.content.toRuns();
    this.message.reasoningRuns = this.marks.reasoning.toRuns();
  }
}

/** An empty answer to a request. */
function newAnswer(request, model) {
  return { role: "assistant", content: "", reasoning: "", rounds: [], request, model };
}

/** Text that may be markdown, shown rendered or as it is, tinted by its marks. */
class TextView {
  constructor(parent, marks, raw) {
    this.parent = parent;
    this.marks = marks;
    this.source = "";
    this.showAs(raw);
  }

  showAs(raw) {
    this.raw = raw;
    this.parent.replaceChildren();
    this.parent.classList.toggle("raw", raw);
    this.markdown = raw ? null : new MarkdownView(this.parent, this.marks);
    this.shown = 0;
    if (this.source) this.update(this.source);
  }

  update(source) {
    this.source = source;
    if (!this.raw) {
      this.markdown.update(source);
      return;
    }
    const text = source.slice(this.shown);
    const at = Array.from({ length: text.length }, (_, i) => this.shown + i);
    appendText(this.parent, { text, at }, this.marks);
    this.shown = source.length;
  }
}

const FINISHES = {
  length: "The answer reached its longest length.",
  stopped: "You stopped this answer.",
};

/** An answer's place in the transcript. `actions` are the functions behind its buttons. */
class AnswerView {
  constructor(message, { raw, actions }) {
    this.message = message;
    this.node = fromTemplate("answer-template");
    const part = (name) => this.node.querySelector(`.${name}`);
    this.parts = {
      who: part("who"),
      thought: part("thought"),
      summary: part("thought summary"),
      status: part("status"),
      trouble: part("trouble"),
      note: part("note"),
      actions: part("actions"),
      proof: part("proof"),
      origin: part("origin"),
    };
    const marks = {
      content: Marks.fromRuns(message.contentRuns ?? [], message.content.length),
      reasoning: Marks.fromRuns(message.reasoningRuns ?? [], message.reasoning.length),
    };
    this.content = new TextView(part("content"), marks.content, raw);
    this.reasoning = new TextView(part("reasoning"), marks.reasoning, raw);
    this.figures = new FiguresView(part("figures"));
    for (const [name, act] of Object.entries(actions)) {
      part(`act-${name}`).addEventListener("click", (event) => act(this, event.currentTarget));
    }
    part("act-retry").addEventListener("click", () => actions.regenerate(this));
    this.update(null);
  }

  /** Show the answer through the marks of a reader while it runs. */
  follow(reader) {
    this.content.marks = reader.marks.content;
    this.reasoning.marks = reader.marks.reasoning;
    this.showAs(this.content.raw);
  }

  showAs(raw) {
    this.content.showAs(raw);
    this.reasoning.showAs(raw);
  }

  /** Bring everything up to date; `reader` is the answer's while it runs, null after. */
  update(reader) {
    const { message, parts } = this;
    const running = reader !== null;
    this.node.setAttribute("aria-busy", String(running));
    this.node.classList.toggle("running", running);
    parts.who.textContent = shortModelName(message.model);
    parts.thought.hidden = !message.reasoning;
    if (message.reasoning) {
      this.reasoning.update(message.reasoning);
      const thinking = running && !message.content;
      parts.summary.textContent = thinking ? "Thinking…" : `Thought ${formatSeconds(message)}`;
      if (thinking !== this.thinking) parts.thought.open = thinking;
      this.thinking = thinking;
    }
    this.content.update(message.content);
    const waiting = running && !message.content && !message.reasoning;
    parts.status.hidden = !waiting;
    if (waiting) parts.status.textContent = describeWaiting(reader.progress);
    parts.trouble.hidden = running || !message.trouble;
    parts.trouble.querySelector("span").textContent = message.trouble ?? "";
    const cut = message.finish || message.trouble ? "" : "This answer was cut short.";
    const note = running ? "" : (FINISHES[message.finish] ?? cut);
    parts.note.hidden = !note;
    parts.note.textContent = note;
    parts.actions.hidden = running || !(message.content || message.reasoning);
    parts.origin.textContent = describeOrigin(message);
    this.figures.update(message);
    showProof(parts.proof, message.proof ?? null);
  }
}

function formatSeconds({ thoughtSeconds }) {
  if (!(thoughtSeconds > 0)) return "before answering";
  if (thoughtSeconds < 1) return "for less than a second";
  const seconds = Math.round(thoughtSeconds);
  return seconds < 60 ? `for ${seconds} s` : `for ${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** What it takes to get the same answer again. */
function describeOrigin({ timings, request }) {
  const parts = [];
  if (timings?.predicted_n > 0) parts.push(plural(timings.predicted_n, "token"));
  if (request?.speculative) {
    const { n_max: most } = request.speculative;
    parts.push(most === 0 ? "drafts off" : `drafts of ${most}`);
  }
  if (request?.seed !== undefined) parts.push(`seed ${request.seed}`);
  return parts.join(" · ");
}

function describeWaiting(progress) {
  if (!progress) return "Waiting for the first token…";
  const { processed, total } = progress;
  const read = Math.min(processed, total).toLocaleString("en");
  return `Reading the prompt: ${read} of ${plural(total, "token")}…`;
}

/** A file's name without its folder and ending. */
function shortModelName(model) {
  return (model || "Model").replace(/^.*[/\\]/, "").replace(/\.gguf$/i, "");
}
