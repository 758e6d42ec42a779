// Which characters of a text came from accepted drafts, and how deep in their round's draft.

/** The draft depth of every character: 1 for a round's first drafted token, 0 for the model's own. */
class Marks {
  constructor() {
    this.depths = new Uint8Array(256);
    this.length = 0;
  }

  /** Append the depths of the next characters. */
  push(depths) {
    if (this.length + depths.length > this.depths.length) {
      const larger = new Uint8Array(2 * (this.length + depths.length));
      larger.set(this.depths.subarray(0, this.length));
      this.depths = larger;
    }
    this.depths.set(depths, this.length);
    this.length += depths.length;
  }

  at(index) {
    return index < this.length ? this.depths[index] : 0;
  }

  /** Run lengths for keeping: [depth, characters, depth, characters, …]. */
  toRuns() {
    const runs = [];
    for (let i = 0; i < this.length; i++) {
      if (i > 0 && this.depths[i] === this.depths[i - 1]) runs[runs.length - 1]++;
      else runs.push(this.depths[i], 1);
    }
    return runs;
  }

  static fromRuns(runs, most) {
    const marks = new Marks();
    for (let i = 0; i + 1 < runs.length && marks.length < most; i += 2) {
      const count = Math.min(runs[i + 1], most - marks.length);
      marks.push(new Array(count).fill(runs[i]));
    }
    return marks;
  }
}

/**
 * Lays the texts of tokens against the text that the server shows.
 *
 * The shown text is the tokens' text less what was taken out (the end of reasoning, tool calls) and
 * may come later (bytes of an unfinished character, the beginning of a stop string).
 */
class Aligner {
  static #MOST = 8192; // unshown characters that are worth remembering

  constructor() {
    this.text = "";
    this.depths = [];
  }

  /** Take the tokens of one round: the first `accepted` are drafts. */
  feed({ accepted, pieces }) {
    pieces.forEach((piece, i) => {
      const depth = i < accepted ? Math.min(i + 1, 255) : 0;
      this.text += piece;
      for (let k = 0; k < piece.length; k++) this.depths.push(depth);
    });
    if (this.text.length > Aligner.#MOST) this.#drop(this.text.length - Aligner.#MOST);
  }

  /** Forget everything up to and including a mark that is not shown. */
  skipPast(mark) {
    const at = this.text.indexOf(mark);
    if (at >= 0) this.#drop(at + mark.length);
  }

  /** The depths of the next shown characters. */
  take(shown) {
    const at = shown ? this.text.indexOf(shown) : -1;
    if (at >= 0) {
      this.#drop(at);
      const depths = this.depths.slice(0, shown.length);
      this.#drop(shown.length);
      return depths;
    }
    return Array.from({ length: shown.length }, (_, i) => this.#takeOne(shown[i]));
  }

  #takeOne(character) {
    const at = this.text.indexOf(character);
    if (at < 0 || at > 16) return 0;
    const depth = this.depths[at];
    this.#drop(at + 1);
    return depth;
  }

  #drop(count) {
    this.text = this.text.slice(count);
    this.depths.splice(0, count);
  }
}
