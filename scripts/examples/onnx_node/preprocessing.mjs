// From tokens to the inputs of the graph, and from its outputs to tags and spans.
// Follows tagger/export/README.md step by step; needs no library.

const UNKNOWN = 1;
const isLowercase = (character) => /\p{Lowercase}/u.test(character);
const isUppercase = (character) => /\p{Uppercase}/u.test(character);
const isTitlecase = (character) => /\p{Lt}/u.test(character);
const isLetter = (character) => /\p{L}/u.test(character);

/** Returns the forms under which a word is looked up, in order. */
export function forms(word) {
  const lower = word.toLowerCase(); // never toLocaleLowerCase: it depends on the language of the system
  return [word, lower, lower.replace(/\p{Nd}/gu, "0")];
}

const isLower = (characters) =>
  characters.some(isLowercase) && !characters.some((one) => isUppercase(one) || isTitlecase(one));
const isUpper = (characters) =>
  characters.some(isUppercase) && !characters.some((one) => isLowercase(one) || isTitlecase(one));

/** Returns the casing id of a word: 1 other, 2 lower, 3 initial, 4 upper, 5 mixed. */
export function casing(word) {
  const characters = Array.from(word); // code points
  if (isLower(characters)) return 2;
  if (isUpper(characters)) return characters.length === 1 ? 3 : 4;
  if (!characters.some(isLetter)) return 1;
  return isUpper(characters.slice(0, 1)) && isLower(characters.slice(1)) ? 3 : 5;
}

const numberItems = (items) => new Map(items.map((item, id) => [item, id]));

/** Turns documents into inputs; `settings` is the content of preprocessing.json. */
export class Preprocessor {
  constructor(settings) {
    if (settings.format !== 2) throw new Error(`format ${settings.format}, expected 2`);
    this.settings = settings;
    this.words = numberItems(settings.words);
    this.characters = numberItems(settings.characters);
    const types = new Set(settings.tags.filter((tag) => tag !== "O").map((tag) => tag.slice(2)));
    this.isUntyped = settings.scheme !== null && types.size === 1 && types.has("_");
  }

  wordId(word) {
    for (const form of forms(word)) {
      if (this.words.has(form)) return Math.max(this.words.get(form), UNKNOWN); // a text may hold "<padding>"
    }
    return UNKNOWN;
  }

  characterIds(word) {
    const characters = Array.from(word).slice(0, this.settings.limits.characters);
    return characters.map((character) => this.characters.get(character) ?? UNKNOWN);
  }

  /** Returns the numbers of each token of each sentence of a document, as golden.json has them. */
  encode(sentences) {
    const encoded = sentences.map((tokens) => ({
      words: tokens.map((token) => this.wordId(token)),
      characters: tokens.map((token) => this.characterIds(token)),
      casing: tokens.map(casing),
    }));
    if (this.settings.inputs.includes("context_index")) {
      for (const passage of this.splitIntoPassages(sentences)) this.addContext(passage, sentences, encoded);
    }
    return encoded;
  }

  /** Returns the numbers of the sentences of each passage. A passage ends at the sentence that reaches the limit. */
  splitIntoPassages(sentences) {
    const passages = [];
    let tokens = Infinity;
    sentences.forEach((sentence, number) => {
      if (tokens >= this.settings.limits.passage_tokens) {
        passages.push([]);
        tokens = 0;
      }
      passages.at(-1).push(number);
      tokens += sentence.length;
    });
    return passages;
  }

  /** Adds what all occurrences of a word in a passage have in common, whatever their case. */
  addContext(passage, sentences, encoded) {
    const pairs = new Map();
    for (const number of passage) {
      const { words, casing: casings } = encoded[number];
      sentences[number].forEach((token, position) => {
        const key = token.toLowerCase();
        if (!pairs.has(key)) pairs.set(key, { neighbours: [], counts: new Array(7).fill(0), total: 0 });
        const pair = pairs.get(key);
        if (pair.neighbours.length < this.settings.limits.occurrences) {
          pair.neighbours.push([words[position - 1] ?? 0, words[position + 1] ?? 0]);
        }
        const isStart = position === 0 && casings[position] === 3; // a capital at the start says little
        pair.counts[isStart ? 0 : casings[position]] += 1;
        pair.total += 1;
      });
    }
    for (const pair of pairs.values()) {
      pair.casing = pair.counts.map((count) => count / pair.total);
      pair.casing[6] = Math.log(pair.total);
    }
    for (const number of passage) {
      const rows = sentences[number].map((token) => pairs.get(token.toLowerCase()));
      encoded[number].context_neighbours = rows.map((pair) => pair.neighbours);
      encoded[number].context_casing = rows.map((pair) => pair.casing);
    }
  }

  /** Returns the inputs of the graph as [type, values, shape]. Each token has a row of its own here. */
  buildInputs(encoded) {
    const lengths = encoded.map((sentence) => sentence.words.length);
    const [rows, columns] = [lengths.length, Math.max(...lengths)];
    const count = lengths.reduce((total, length) => total + length, 0);
    const index = new Array(rows * columns).fill(0);
    let token = 0;
    lengths.forEach((length, row) => {
      for (let column = 0; column < length; column += 1) index[row * columns + column] = token++;
    });
    const characters = encoded.flatMap((sentence) => sentence.characters);
    const longest = Math.max(...characters.map((ids) => ids.length));
    const inputs = {
      words: ["int64", encoded.flatMap((sentence) => sentence.words), [count]],
      characters: ["int64", characters.flatMap((ids) => padTo(ids, longest, 0)), [count, longest]],
      casing: ["int64", encoded.flatMap((sentence) => sentence.casing), [count]],
      index: ["int64", index, [rows, columns]],
      lengths: ["int64", lengths, [rows]],
      probabilities: ["bool", [1], []],
    };
    if (this.settings.inputs.includes("context_index")) {
      const neighbours = encoded.flatMap((sentence) => sentence.context_neighbours);
      const most = Math.max(...neighbours.map((pairs) => pairs.length));
      inputs.context_index = ["int64", index, [rows, columns]];
      inputs.context_neighbours = [
        "int64",
        neighbours.flatMap((pairs) => padTo(pairs.flat(), 2 * most, -1)),
        [count, most, 2],
      ];
      inputs.context_casing = ["float32", encoded.flatMap((sentence) => sentence.context_casing).flat(), [count, 7]];
    }
    return Object.fromEntries(this.settings.inputs.map((name) => [name, inputs[name]]));
  }

  /** Returns the least probability of the spans of each type, given `{ threshold }` or `{ precision }`. */
  findThresholds({ threshold, precision }) {
    const types = new Set(this.settings.tags.filter((tag) => tag !== "O").map((tag) => tag.slice(2)));
    if (threshold !== undefined) return Object.fromEntries(Array.from(types, (type) => [type, threshold]));
    const find = (steps) => (steps ?? []).find(([highest]) => highest >= precision)?.[1] ?? Infinity;
    return Object.fromEntries(Array.from(types, (type) => [type, find(this.settings.thresholds[type])]));
  }

  /** Returns tags, spans and probabilities of a sentence, given its row in the outputs and its number of tokens.
   * With `thresholds`, less probable spans are removed. */
  decode(outputs, row, length, thresholds) {
    const columns = outputs.path.dims[1];
    const path = Array.from(outputs.path.data.slice(row * columns, row * columns + length), Number);
    let tags = path.map((tag) => this.settings.tags[tag]);
    let spans = this.settings.scheme === null ? [] : findSpans(tags);
    for (const span of spans) {
      const probability = outputs.span_probabilities.data[row * columns + span.end - 1];
      span.probability = scaleLogOdds(probability, this.settings.type_temperatures[span.type] ?? 1);
    }
    if (thresholds !== undefined) {
      spans = spans.filter((span) => span.probability >= thresholds[span.type]);
      tags = buildTags(spans, length, this.settings.scheme);
    }
    const tagCount = this.settings.tags.length;
    const probabilities = tags.map((tag, token) => {
      const id = this.settings.tags.indexOf(tag);
      return outputs.marginals.data[(row * columns + token) * tagCount + id];
    });
    // A token of a span has the probability of the span.
    for (const span of spans) probabilities.fill(span.probability, span.start, span.end);
    return { tags: this.isUntyped ? tags.map((tag) => tag[0]) : tags, spans, probabilities };
  }
}

const padTo = (values, length, filler) => values.concat(new Array(length - values.length).fill(filler));

const scaleLogOdds = (probability, temperature) =>
  temperature === 1 ? probability : 1 / (1 + Math.exp(-Math.log(probability / (1 - probability)) / temperature));

/** Returns the spans of tags of any scheme. */
export function findSpans(tags) {
  const spans = [];
  let before = "O";
  tags.forEach((tag, position) => {
    if (tag !== "O") {
      const joins = before !== "O" && before.slice(2) === tag.slice(2) && !"BS".includes(tag[0]) && !"ES".includes(before[0]);
      if (joins) spans.at(-1).end = position + 1;
      else spans.push({ type: tag.slice(2), start: position, end: position + 1 });
    }
    before = tag;
  });
  return spans;
}

/** Returns the tags of spans in a scheme. */
export function buildTags(spans, length, scheme) {
  const tags = new Array(length).fill("O");
  let previous; // the span before
  for (const span of spans) {
    const { type, start, end } = span;
    const touches = previous !== undefined && previous.end === start && previous.type === type;
    for (let token = start; token < end; token += 1) {
      let prefix = token === start && (scheme !== "IOB1" || touches) ? "B" : "I";
      if (scheme === "IOBES" && token === end - 1) prefix = token === start ? "S" : "E";
      tags[token] = `${prefix}-${type}`;
    }
    previous = span;
  }
  return tags;
}
