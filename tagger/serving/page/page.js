// The page that tags a text as it is typed. All texts are inserted by textContent, so that no markup in them is active.
"use strict";

const DELAY = 150; // milliseconds without typing before the text is sent
const MAX_SENTENCES = 50; // whose alternatives are shown
const element = id => document.getElementById(id);
const text = element("text"), threshold = element("threshold"), nbest = element("nbest");
const state = { models: [], result: null, tagged: "", hidden: new Set(), timer: 0, request: null };

const create = (name, content, ...classes) => {
  const node = document.createElement(name);
  node.textContent = content;
  node.classList.add(...classes);
  return node;
};

// Symbols for control characters and for characters that reorder text, as on the other pages of the toolkit.
const visible = shown => shown
  .replace(/[\0-\x08\x0b-\x1f]/g, c => String.fromCodePoint(0x2400 + c.codePointAt(0)))
  .replace(/\x7f/g, "\u2421")
  .replace(/[\x80-\x9f\u202a-\u202e\u2066-\u2069]|\p{Surrogate}/gu, "\ufffd");

const format = probability => probability === null || probability === undefined ? "unknown" : probability.toFixed(4);
const model = () => state.models.find(each => each.name === element("model").value) || state.models[0];
const hasSpans = () => model().scheme !== null;

function show(message, isError = false) {
  element("status").textContent = message;
  element("status").classList.toggle("error", isError);
}

// The parts to mark: the spans, or each token of a model with plain tags. Offsets count code points.
function findMarks(result) {
  if (hasSpans()) return result.spans;
  return result.tokens.map((_, index) => ({
    type: result.tags[index], start: result.offsets[index][0], end: result.offsets[index][1],
    probability: result.probabilities[index],
  }));
}

function isShown(mark) {
  const isProbable = mark.probability === null || mark.probability === undefined || mark.probability >= threshold.value;
  return !state.hidden.has(mark.type) && (isProbable || !hasSpans());
}

function createMark(content, mark) {
  const node = create("mark", "", `c${model().colours[mark.type] ?? 0}`);
  // A bdi, and an element with dir, would not count for the direction of the line.
  node.append(create("span", visible(content), "surface"), create("bdi", visible(mark.type), "type"));
  if (mark.probability !== undefined) node.append(create("bdi", `probability ${format(mark.probability)}`, "tip"));
  return node;
}

// Returns a paragraph for each line of a text, so that each has its own direction.
function renderLines(points, marks) {
  const lines = [document.createElement("p")];
  const addText = plain => plain.split("\n").forEach((part, index) => {
    if (index) lines.push(document.createElement("p"));
    lines.at(-1).append(visible(part));
  });
  let end = 0;
  for (const mark of marks) {
    addText(points.slice(end, mark.start).join(""));
    lines.at(-1).append(createMark(points.slice(mark.start, mark.end).join(""), mark));
    end = mark.end;
  }
  addText(points.slice(end).join(""));
  for (const line of lines) line.dir = "auto";
  return lines;
}

function render() {
  const result = state.result;
  element("copy").disabled = !result;
  if (!result) {
    element("output").replaceChildren();
    element("alternatives").hidden = true;
    renderLegend([]);
    return;
  }
  const marks = findMarks(result), shown = marks.filter(isShown);
  element("output").replaceChildren(...renderLines(Array.from(result.text), shown));
  element("output").querySelectorAll("mark").forEach((mark, index) => { mark.tabIndex = index ? -1 : 0; });
  renderLegend(marks);
  renderAlternatives(result);
  const noun = hasSpans() ? (shown.length === 1 ? "entity" : "entities") : "tokens";
  const left = marks.length - shown.length;
  const parts = [`${shown.length} ${noun}`, ...(left ? [`${left} hidden`] : [])];
  show(`${parts.join(", ")} in ${result.sentences.length} sentence${result.sentences.length === 1 ? "" : "s"}`);
}

function renderLegend(marks) {
  const counts = new Map();
  for (const mark of marks) counts.set(mark.type, (counts.get(mark.type) || 0) + 1);
  const types = Object.keys(model().colours).filter(type => hasSpans() || counts.has(type) || state.hidden.has(type));
  const focused = document.activeElement?.dataset?.type;
  element("legend").replaceChildren(...types.map(type => {
    const button = create("button", "", `c${model().colours[type]}`);
    button.append(create("bdi", visible(type)), create("small", counts.get(type) || 0));
    button.type = "button";
    button.dataset.type = type;
    button.setAttribute("aria-pressed", String(!state.hidden.has(type)));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
  if (focused !== undefined) [...element("legend").querySelectorAll("button")].find(each => each.dataset.type === focused)?.focus();
}

// The parts that the tags of a sentence mark, as token indices, in any scheme.
function decode(tags) {
  if (!hasSpans()) return tags.map((type, index) => ({ type, first: index, last: index }));
  const spans = [];
  let before = "O";
  tags.forEach((tag, index) => {
    const [prefix, type] = [tag[0], tag.slice(2) || "_"];
    const starts = "BS".includes(prefix) || "OES".includes(before[0]) || (before.slice(2) || "_") !== type;
    if (tag !== "O" && starts) spans.push({ type, first: index, last: index });
    else if (tag !== "O") spans.at(-1).last = index;
    before = tag;
  });
  return spans;
}

function renderAlternatives(result) {
  element("alternatives").hidden = !result.alternatives;
  if (!result.alternatives) return;
  const points = Array.from(result.text);
  const lists = result.sentences.slice(0, MAX_SENTENCES).map(([first, last], index) => {
    const offsets = result.offsets.slice(first, last);
    if (!offsets.length) return null;
    const start = offsets[0][0], sentence = points.slice(start, offsets.at(-1)[1]);
    const list = document.createElement("ol");
    for (const { tags, probability } of result.alternatives[index]) {
      const marks = decode(tags).filter(mark => !state.hidden.has(mark.type)).map(mark => ({
        type: mark.type, start: offsets[mark.first][0] - start, end: offsets[mark.last][1] - start,
      }));
      const item = document.createElement("li"), body = document.createElement("div");
      body.append(...renderLines(sentence, marks));
      item.append(create("span", format(probability)), body);
      list.append(item);
    }
    return list;
  });
  element("sentences").replaceChildren(...lists.filter(Boolean));
  const more = result.sentences.length - MAX_SENTENCES;
  if (more > 0) element("sentences").append(create("p", `Alternatives of ${more} more sentences are not shown.`));
}

async function send(body, signal) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal };
  const response = await fetch("tag", options);
  const answer = await parse(response);
  if (!response.ok) throw new Error(answer.errors.join("; "));
  return answer.documents[0];
}

async function parse(response) {
  try {
    return await response.json();
  } catch (error) {
    if (error instanceof SyntaxError) throw new Error(`The server sent no JSON, with status ${response.status}.`);
    throw error;
  }
}

function buildRequest() {
  const body = { text: text.value, probabilities: true };
  if (state.models.length > 1) body.model = model().name;
  if (Number(nbest.value)) body.nbest = Number(nbest.value);
  return body;
}

async function update() {
  state.request?.abort();
  const request = state.request = new AbortController();
  if (!text.value.trim()) {
    state.result = null;
    render();
    show("");
    return;
  }
  element("output").setAttribute("aria-busy", "true");
  try {
    state.result = await send(buildRequest(), request.signal);
    render();
  } catch (error) {
    if (error.name === "AbortError") return;
    state.result = null;
    render();
    show(error instanceof TypeError ? "The server does not answer." : error.message, true);
  }
  if (request === state.request) element("output").setAttribute("aria-busy", "false");
}

async function copy() {
  const body = buildRequest();
  if (hasSpans() && Number(threshold.value)) body.threshold = Number(threshold.value);
  try {
    await writeClipboard(JSON.stringify(await send(body), null, 1));
    show("Copied.");
  } catch (error) {
    show(error.message, true);
  }
}

async function writeClipboard(content) {
  if (navigator.clipboard) return navigator.clipboard.writeText(content);
  const area = document.createElement("textarea"); // browsers offer no clipboard to pages of other machines without TLS
  area.value = content;
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  element("copy").focus();
  if (!isCopied) throw new Error("The browser blocked the clipboard.");
}

function moveFocus(event) {
  const marks = [...element("output").querySelectorAll("mark")], index = marks.indexOf(document.activeElement);
  const isReversed = index >= 0 && getComputedStyle(marks[index].parentElement).direction === "rtl";
  const steps = { ArrowRight: isReversed ? -1 : 1, ArrowLeft: isReversed ? 1 : -1, Home: -marks.length, End: marks.length };
  if (index < 0 || !(event.key in steps)) return;
  event.preventDefault();
  const next = marks[Math.min(Math.max(index + steps[event.key], 0), marks.length - 1)];
  marks.forEach(mark => { mark.tabIndex = mark === next ? 0 : -1; });
  next.focus();
}

function schedule() {
  clearTimeout(state.timer);
  state.timer = setTimeout(update, DELAY);
}

function chooseModel() {
  state.hidden.clear();
  state.result = null;
  element("threshold-choice").hidden = !hasSpans();
  const body = { ...(state.models.length > 1 ? { model: model().name } : {}), text: "Anna lives in Paris." };
  element("command").textContent = `curl ${location.origin}/tag -d '${JSON.stringify(body)}'`;
  render();
  update();
}

async function start() {
  state.models = (await (await fetch("models")).json()).models;
  element("model").replaceChildren(...state.models.map(each => new Option(each.name)));
  element("model-choice").hidden = state.models.length < 2;
  text.addEventListener("input", schedule);
  element("model").addEventListener("change", chooseModel);
  nbest.addEventListener("change", update);
  threshold.addEventListener("input", () => {
    element("threshold-value").textContent = Number(threshold.value).toFixed(2);
    render();
  });
  element("controls").addEventListener("submit", event => event.preventDefault());
  element("copy").addEventListener("click", copy);
  element("output").addEventListener("keydown", moveFocus);
  element("legend").addEventListener("click", event => {
    const type = event.target.closest("button")?.dataset.type;
    if (type === undefined) return;
    if (!state.hidden.delete(type)) state.hidden.add(type);
    render();
  });
  chooseModel();
}

start().catch(() => show("The server does not answer.", true));
