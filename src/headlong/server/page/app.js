// The page put together: the conversation that is open, and the one answer that may be running.

class App {
  constructor() {
    this.settings = new Settings();
    this.conversations = new Conversations();
    this.server = new Server();
    this.connection = new Connection(this.server, (found) => this.#learn(found));
    this.props = null;
    this.model = "";
    this.keepRunning = null; // writes down what there is of a running answer
    this.run = null; // the AbortController of the answer or proof that is running
    this.deleted = new Set(); // ids that an answer still running must not bring back
    this.views = new Map(); // from an answer's message to its view
    this.transcript = byId("transcript");
    this.turns = byId("turns");
    this.field = byId("message");
    this.sidebar = new Sidebar(this.conversations, {
      open: ({ id }) => {
        const conversation = this.conversations.get(id);
        if (conversation && id !== this.conversation.id) this.open(conversation);
      },
      create: () => this.create(),
      rename: (conversation, title) => this.#rename(conversation, title),
      remove: (conversation) => this.#remove(conversation),
      importAll: (found) => this.#import(found),
    });
    this.#wireComposer();
    this.#wireSettings();
    this.#wireKeyboard();
    const id = keep.get("current", "");
    this.open(this.conversations.get(id) ?? this.#empty());
    this.connection.check();
  }

  // --- conversations -------------------------------------------------------------------------

  #empty() {
    return Conversations.create(this.settings.system);
  }

  create() {
    this.open(this.#empty());
    if (this.sidebar.isOpen) this.sidebar.toggle(false);
    this.field.focus();
  }

  open(conversation) {
    this.stop();
    this.conversation = conversation;
    keep.set("current", conversation.id);
    this.sidebar.show(conversation);
    this.#showTurns();
    byId("system").value = conversation.system;
    this.transcript.scrollTop = this.transcript.scrollHeight;
  }

  #save() {
    if (this.conversation.messages.length === 0) return;
    const had = this.conversations.save(this.conversation);
    if (!had) {
      notify("The browser has no room for this conversation. Export it, or delete others.", "Export", () =>
        download(fileName(this.conversation), Conversations.export([this.conversation])),
      );
    }
    this.sidebar.show(this.conversation);
  }

  #rename(conversation, title) {
    conversation.title = title;
    if (conversation.id === this.conversation.id) this.conversation.title = title;
    this.conversations.put(conversation.id === this.conversation.id ? this.conversation : conversation);
    this.sidebar.show(this.conversation);
  }

  #remove(conversation) {
    this.stop();
    this.deleted.add(conversation.id);
    this.conversations.delete(conversation);
    this.open(this.conversations.all()[0] ?? this.#empty());
    this.field.focus();
    notify(`Deleted “${titleOf(conversation)}”.`, "Undo", () => {
      this.deleted.delete(conversation.id);
      this.conversations.put(conversation);
      this.open(conversation);
    });
  }

  #import(found) {
    const kept = found.filter((conversation) => this.conversations.put(conversation)).length;
    const lost = found.length - kept;
    const words = `Imported ${plural(kept, "conversation")}.`;
    notify(lost ? `${words} The browser had no room for ${lost} more.` : words);
    if (found.length > 0) this.open(found[0]);
  }

  // --- the transcript ------------------------------------------------------------------------

  #showTurns() {
    this.views.clear();
    const { messages } = this.conversation;
    this.turns.replaceChildren(...messages.map((message) => this.#turn(message)));
    this.#showWelcome();
    this.#showState();
  }

  #turn(message) {
    if (message.role === "user") return this.#userTurn(message);
    const view = new AnswerView(message, {
      raw: this.settings.raw,
      actions: {
        copy: (answer, button) => copyText(answer.message.content, button),
        regenerate: (answer) => this.#regenerate(answer.message),
        prove: (answer) => this.#prove(answer),
      },
    });
    this.views.set(message, view);
    return view.node;
  }

  #userTurn(message) {
    const node = fromTemplate("user-template");
    node.querySelector(".said").textContent = message.content;
    const form = node.querySelector("form");
    const area = node.querySelector("textarea");
    const edit = (open) => {
      form.hidden = !open;
      node.querySelector(".said").hidden = open;
      node.querySelector(".act-edit").hidden = open;
      if (open) {
        area.value = message.content;
        area.focus();
      } else node.querySelector(".act-edit").focus();
    };
    node.querySelector(".act-edit").addEventListener("click", () => edit(true));
    node.querySelector(".act-cancel").addEventListener("click", () => edit(false));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (area.value.trim()) this.#resend(message, area.value.trim());
    });
    area.addEventListener("keydown", (event) => {
      if (isSend(event)) form.requestSubmit();
      else if (event.key === "Escape") edit(false);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    return node;
  }

  #showWelcome() {
    byId("welcome").hidden = this.conversation.messages.length > 0;
    document.title = this.conversation.messages.length
      ? `${titleOf(this.conversation)} – Headlong`
      : "Headlong";
  }

  get #atEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.transcript;
    return scrollHeight - scrollTop - clientHeight < 48;
  }

  #toEnd() {
    this.transcript.scrollTop = this.transcript.scrollHeight;
  }

  // --- answers -------------------------------------------------------------------------------

  send(text) {
    this.conversation.messages.push({ role: "user", content: text });
    this.turns.append(this.#turn(this.conversation.messages.at(-1)));
    this.#answer();
  }

  #resend(message, text) {
    this.stop();
    const { messages } = this.conversation;
    messages.length = messages.indexOf(message) + 1;
    message.content = text;
    this.#showTurns();
    this.#answer();
    this.field.focus();
  }

  #regenerate(answer) {
    this.stop();
    const { messages } = this.conversation;
    messages.length = messages.indexOf(answer);
    this.#showTurns();
    this.#answer();
    this.field.focus();
  }

  /** Messages for the server, up to an answer. */
  #context(answer) {
    const { messages, system } = this.conversation;
    const before = messages.slice(0, messages.indexOf(answer));
    const context = system.trim() ? [{ role: "system", content: system }] : [];
    for (const { role, content } of before) context.push({ role, content });
    return context;
  }

  async #answer() {
    const { conversation } = this;
    const message = newAnswer(this.settings.request(), this.model);
    conversation.messages.push(message);
    this.turns.append(this.#turn(message));
    this.#showWelcome();
    this.#save();
    this.#toEnd();
    const view = this.views.get(message);
    const reader = new AnswerReader(message);
    view.follow(reader);
    const painter = new Painter(() => {
      const follow = this.#atEnd;
      view.update(reader);
      if (follow) this.#toEnd();
      this.#showJump();
    });
    painter.now();
    let saved = performance.now();
    const run = this.#begin();
    this.keepRunning = () => {
      reader.settle();
      this.conversations.save(conversation);
      saved = performance.now();
    };
    try {
      const body = answerBody(this.#context(message), message.request);
      for await (const event of this.server.answer(body, run.signal)) {
        if (run.signal.aborted) break;
        reader.read(event);
        painter.request();
        if (performance.now() - saved > 3000) this.keepRunning();
      }
    } catch (error) {
      if (!run.signal.aborted) this.#fail(message, error);
    }
    if (run.signal.aborted) message.finish = "stopped";
    this.keepRunning = null;
    this.#end(run);
    reader.settle();
    const follow = this.#atEnd;
    painter.paint = () => {};
    view.update(null);
    if (this.conversation === conversation) {
      this.#save();
      if (follow) this.#toEnd();
      announce(message.trouble ?? `Answer: ${message.content.slice(0, 2000)}`);
    } else if (!this.deleted.has(conversation.id)) this.conversations.save(conversation);
  }

  #fail(message, error) {
    message.trouble = explain(error);
    if (error instanceof ConnectionLost || error.status === 503) this.connection.check();
    if (error.status === 401) this.connection.askForKey(() => this.#regenerate(message));
    if (!(error instanceof ServerError || error instanceof ConnectionLost)) console.error(error);
  }

  async #prove(view) {
    if (this.run) return;
    const { message } = view;
    const run = this.#begin();
    message.proof = null;
    const show = (proof) => {
      const follow = this.#atEnd;
      showProof(view.parts.proof, proof);
      if (follow) this.#toEnd();
    };
    show({ runs: [], complete: false });
    let latest = null;
    const painter = new Painter(() => show(latest));
    try {
      message.proof = await prove(this.server, this.#context(message), message, run.signal, (proof) => {
        latest = proof;
        painter.request();
      });
      announce(describeProof(message.proof));
    } catch (error) {
      if (!run.signal.aborted) notify(explain(error));
      if (error.status === 401) this.connection.askForKey();
    }
    this.#end(run);
    painter.paint = () => {};
    show(message.proof);
    if (message.proof) this.#save();
  }

  #begin() {
    this.stop();
    this.run = new AbortController();
    this.#showState();
    return this.run;
  }

  #end(run) {
    if (this.run !== run) return;
    this.run = null;
    this.#showState();
  }

  stop() {
    this.run?.abort();
    this.run = null;
    this.#showState();
  }

  #showState() {
    const running = this.run !== null;
    document.body.classList.toggle("busy", running);
    byId("send").hidden = running;
    byId("stop").hidden = !running;
    byId("send").disabled = this.field.value.trim() === "";
    for (const button of this.turns.querySelectorAll(".act-prove, .act-regenerate")) {
      button.disabled = running;
    }
    this.#showJump();
  }

  #showJump() {
    byId("jump").hidden = this.#atEnd;
  }

  // --- the server ----------------------------------------------------------------------------

  #learn({ props, models }) {
    this.props = props;
    const [model] = models.data ?? [];
    this.model = model?.id ?? "";
    const name = shortModelName(this.model || props.model_path);
    const about = {
      n_ctx: props.default_generation_settings?.n_ctx,
      longest: props.speculative?.longest,
      ...model?.meta,
    };
    byId("welcome-model").textContent = describeModel(name, about);
    this.settings.longestDraft = about.has_mtp === false ? 0 : (about.longest ?? Infinity);
    document.body.classList.toggle("no-drafts", this.settings.longestDraft === 0);
    for (const option of byId("speculation").options) {
      option.disabled = Number(option.value) > this.settings.longestDraft;
    }
    this.#showSettings();
    byId("model").textContent = name;
  }

  // --- controls ------------------------------------------------------------------------------

  #wireComposer() {
    const grow = () => {
      this.field.style.height = "auto";
      this.field.style.height = `${this.field.scrollHeight + 2}px`;
      this.#showState();
    };
    this.field.addEventListener("input", grow);
    this.field.addEventListener("keydown", (event) => {
      if (!isSend(event)) return;
      event.preventDefault();
      byId("composer").requestSubmit();
    });
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.field.value.trim();
      if (!text || this.run) return;
      this.field.value = "";
      grow();
      this.send(text);
    });
    byId("stop").addEventListener("click", () => {
      this.stop();
      this.field.focus();
    });
    byId("jump").addEventListener("click", () => this.#toEnd());
    this.transcript.addEventListener("scroll", () => this.#showJump(), { passive: true });
    byId("speculation").addEventListener("change", (event) => {
      this.settings.speculation = event.target.value;
      this.settings.save();
    });
    for (const button of byId("welcome").querySelectorAll("button")) {
      button.addEventListener("click", () => {
        this.field.value = button.textContent;
        grow();
        this.field.focus();
      });
    }
  }

  #wireSettings() {
    const { settings } = this;
    buildSamplerFields(byId("sampler"), settings, () => settings.save());
    byId("open-settings").addEventListener("click", () => {
      this.#showSettings();
      byId("settings").showModal();
    });
    byId("reset").addEventListener("click", () => {
      settings.sampler = {};
      settings.save();
      this.#showSettings();
      announce("Sampler settings are the server's again.");
    });
    byId("system").addEventListener("input", (event) => {
      this.conversation.system = settings.system = event.target.value;
      settings.save();
      if (this.conversation.messages.length) this.conversations.save(this.conversation);
    });
    byId("thinking").addEventListener("change", (event) => {
      settings.thinking = event.target.value;
      settings.save();
    });
    byId("settings-key").addEventListener("change", (event) => {
      this.server.useKey(event.target.value.trim());
      this.connection.check();
    });
    byId("theme").addEventListener("change", (event) => {
      settings.theme = event.target.value;
      settings.save();
      this.#showView();
    });
    byId("tint").addEventListener("click", () => {
      settings.tint = !settings.tint;
      settings.save();
      this.#showView();
    });
    byId("raw").addEventListener("click", () => {
      settings.raw = !settings.raw;
      settings.save();
      this.#showView();
      for (const view of this.views.values()) view.showAs(settings.raw);
    });
    for (const dialog of document.querySelectorAll("dialog")) {
      dialog.addEventListener("pointerdown", (event) => {
        if (event.target === dialog) dialog.close(); // beside what is in it
      });
    }
    addEventListener("storage", () => this.sidebar.show(this.conversation));
    addEventListener("pagehide", () => {
      if (this.run) this.keepRunning?.();
      this.stop();
    });
    this.#showSettings();
    this.#showView();
  }

  #wireKeyboard() {
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
      if (this.sidebar.isOpen) this.sidebar.toggle(false);
      else if (this.run) {
        this.stop();
        this.field.focus();
      }
    });
  }

  #showSettings() {
    showSampler(byId("sampler"), this.settings, samplerDefaults(this.props));
    byId("thinking").value = this.settings.thinking;
    byId("settings-key").value = this.server.key;
    byId("speculation").value = this.settings.drafts;
    byId("theme").value = this.settings.theme;
  }

  #showView() {
    const { theme, tint, raw } = this.settings;
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    document.body.classList.toggle("tinted", tint);
    byId("tint").setAttribute("aria-pressed", String(tint));
    byId("raw").setAttribute("aria-pressed", String(raw));
  }
}

/** Enter alone, and not the one that ends a word in an input method. */
function isSend(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing;
}

/** One line on the model that answers. */
function describeModel(name, { n_ctx: context, has_mtp: head, longest, rehearsal }) {
  const parts = [name];
  if (context > 0) parts.push(`${context.toLocaleString("en")} tokens of context`);
  if (head === true && longest === 0) parts.push("the server makes no drafts");
  else if (head === true) parts.push("drafts with its MTP head");
  if (head === false) parts.push("no MTP head");
  if (rehearsal) parts.push("a rehearsal file: its words mean nothing");
  return parts.join(" · ");
}

const app = new App();
