// Tags with a model that `tagger export` wrote.
//
//   node tag.mjs DIR              tags the golden examples; the exit code is 1 if one differs
//   node tag.mjs DIR TOKEN...     tags one sentence

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as ort from "onnxruntime-web";
import { Preprocessor } from "./preprocessing.mjs";

const TOLERANCE = 1e-3; // of probabilities
ort.env.wasm.numThreads = 1;

const TYPES = { int64: (values) => BigInt64Array.from(values, BigInt), float32: (values) => Float32Array.from(values) };

async function load(directory) {
  const settings = JSON.parse(await readFile(join(directory, "preprocessing.json"), "utf8"));
  const session = await ort.InferenceSession.create(await readFile(join(directory, "model.onnx")));
  return { session, preprocessor: new Preprocessor(settings) };
}

/** Returns the inputs of each sentence of a document, and its tags, spans and probabilities.
 * Each of `options`, such as `{ threshold: 0.5 }`, adds those without the spans that it removes. */
async function tagDocument({ session, preprocessor }, sentences, options = {}) {
  const encoded = preprocessor.encode(sentences);
  const inputs = {};
  for (const [name, [type, values, shape]] of Object.entries(preprocessor.buildInputs(encoded))) {
    const data = type === "bool" ? Uint8Array.from(values) : TYPES[type](values);
    inputs[name] = new ort.Tensor(type, data, shape);
  }
  const outputs = await session.run(inputs);
  return sentences.map((tokens, row) => {
    const example = { inputs: encoded[row], ...preprocessor.decode(outputs, row, tokens.length) };
    for (const [name, value] of Object.entries(options)) {
      const thresholds = preprocessor.findThresholds({ [name]: value });
      example[`with_${name}`] = preprocessor.decode(outputs, row, tokens.length, thresholds);
    }
    return example;
  });
}

/** Returns whether two values are equal; numbers may differ by the tolerance. */
function agree(actual, expected) {
  if (typeof expected === "number") return Math.abs(actual - expected) <= TOLERANCE;
  if (typeof expected !== "object" || expected === null) return actual === expected;
  if (Array.isArray(expected) && actual?.length !== expected.length) return false;
  return Object.keys(expected).every((key) => actual?.[key] !== undefined && agree(actual[key], expected[key]));
}

async function checkGoldenExamples(model, directory) {
  const { documents, ...options } = JSON.parse(await readFile(join(directory, "golden.json"), "utf8"));
  let [count, differences] = [0, 0];
  for (const document of documents) {
    const tagged = await tagDocument(model, document.map((example) => example.tokens), options);
    document.forEach((example, row) => {
      count += 1;
      for (const key of Object.keys(example).filter((name) => name !== "tokens")) {
        if (agree(tagged[row][key], example[key])) continue;
        differences += 1;
        console.error(`${key} of ${JSON.stringify(example.tokens)}:`);
        console.error(`  expected ${JSON.stringify(example[key])}\n  found    ${JSON.stringify(tagged[row][key])}`);
      }
    });
  }
  console.log(`${count} golden examples, ${differences} differences`);
  return differences === 0 && count > 0;
}

const [directory, ...tokens] = process.argv.slice(2);
if (directory === undefined) {
  console.error("usage: node tag.mjs DIR [TOKEN...]");
  process.exit(2);
}
const model = await load(directory);
if (tokens.length) {
  const [{ tags, spans }] = await tagDocument(model, [tokens]);
  console.log(tags.join(" "));
  for (const { type, start, end, probability } of spans) {
    console.log(`${type}\t${tokens.slice(start, end).join(" ")}\t${probability.toFixed(4)}`);
  }
} else if (!(await checkGoldenExamples(model, directory))) {
  process.exitCode = 1;
}
