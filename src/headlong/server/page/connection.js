// Watches whether the server can answer: loading, lost, asking for a key, ready.

const POLL_MS = 1000;

class Connection {
  /** `ready` is called with {props, models} each time the server becomes ready. */
  constructor(server, ready) {
    this.server = server;
    this.ready = ready;
    this.banner = byId("banner");
    this.polling = false;
    this.known = false;
    byId("key-form").addEventListener("submit", (event) => this.#takeKey(event));
  }

  /** Ask until the server is ready; the banner says what it is doing. */
  async check() {
    if (this.polling) return;
    this.polling = true;
    try {
      for (;;) {
        const health = await this.server.health();
        if (health.ready) break;
        this.#show(health);
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
      this.banner.hidden = true;
      await this.#learn();
    } finally {
      this.polling = false;
    }
  }

  async #learn() {
    try {
      const [props, models] = await Promise.all([
        this.server.get("props").catch((error) => {
          if (error.status === 404) return {}; // a server that has no such page
          throw error;
        }),
        this.server.get("v1/models"),
      ]);
      this.known = true;
      this.ready({ props, models });
    } catch (error) {
      if (error.status === 401) this.askForKey();
      else this.#say(explain(error), null);
    }
  }

  #show({ reachable, progress, stage, status }) {
    if (!reachable) {
      const lost = this.known ? "Lost the connection to the server." : "The server does not answer.";
      const words = status ? `The server answers with status ${status}.` : lost;
      this.#say(`${words} Trying again every second.`, null);
    } else if (typeof progress === "number") {
      this.#say(`The server is loading its model: ${Math.round(100 * progress)}%`, progress);
    } else if (stage && stage !== "loading") this.#say(`The server is ${stage}.`, null);
    else this.#say("The server is loading its model.", null);
  }

  #say(text, progress) {
    const words = this.banner.querySelector("span");
    if (words.textContent !== text) words.textContent = text;
    const bar = this.banner.querySelector("progress");
    bar.hidden = progress === null;
    bar.value = progress ?? 0;
    this.banner.hidden = false;
  }

  /** Open the dialog; `then` is called when a key has been given. */
  askForKey(then = null) {
    this.afterKey = then;
    byId("key").value = this.server.key;
    byId("key-fault").hidden = !this.server.key;
    if (!byId("key-dialog").open) byId("key-dialog").showModal();
  }

  async #takeKey(event) {
    event.preventDefault();
    this.server.useKey(byId("key").value.trim());
    byId("key-dialog").close();
    await this.#learn();
    if (!byId("key-dialog").open) this.afterKey?.();
  }
}
