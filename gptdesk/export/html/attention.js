// Attention of one query, rounded and added up as torch and MKL do it on a processor with AVX-512.
//
// An input of the matrix that follows may be rounded to another of its 255 steps for a difference in the last bit, and
// then the text is another one after some hundred tokens. So the order of the sums matters, odd as it is.
"use strict";

const WIDE = 16;  // numbers side by side
const BLOCK = 512;  // keys
const lanes = new Float64Array(WIDE);  // float32 values, which are faster to compute with so

// Sum of the lanes: the upper half is added to the lower one until one is left.
function laneSum() {
  const quarter = i => round(round(lanes[i] + lanes[i + 8]) + round(lanes[i + 4] + lanes[i + 12]));
  return round(round(quarter(0) + quarter(2)) + round(quarter(1) + quarter(3)));
}

// Set the lanes to products from place `from` on, the first one added to `sum`; those beyond D are 0.
function setProducts(q, keys, start, from, D, sum) {
  const count = Math.min(WIDE, D - from);
  for (let i = 0; i < count; i++) lanes[i] = round(q[from + i] * keys[start + from + i]);
  for (let i = Math.max(0, count); i < WIDE; i++) lanes[i] = 0;
  if (count > 0) lanes[0] = round(q[from] * keys[start + from] + sum);
}

// Add products to the lanes.
function addProducts(q, keys, start, from, D) {
  const count = Math.min(WIDE, D - from);
  for (let i = 0; i < count; i++) lanes[i] = round(q[from + i] * keys[start + from + i] + lanes[i]);
}

// The dot product of a lone query and a key, one of four that are computed together: the sum so far comes first.
function dotOfFour(q, keys, start, D) {
  const rest = D - ((D - 1) % WIDE);  // place of what fills no vector
  let sum = round(q[0] * keys[start]);
  if (rest > 1) {
    setProducts(q, keys, start, 1, D, sum);
    for (let d = 1 + WIDE; d < rest; d += WIDE) addProducts(q, keys, start, d, D);
    sum = laneSum();
  }
  if (rest === D) return sum;
  setProducts(q, keys, start, rest, D, sum);
  return laneSum();
}

// The dot product of a lone query and one of the up to three keys after the last four: the first product comes last.
function dotOfRest(q, keys, start, D) {
  setProducts(q, keys, start, 1, D, 0);
  for (let d = 1 + WIDE; d < D; d += WIDE) {
    if (d === 1 + WIDE && d + WIDE <= D) {  // the second whole vector is not fused
      for (let i = 0; i < WIDE; i++) lanes[i] = round(lanes[i] + round(q[d + i] * keys[start + d + i]));
    } else {
      addProducts(q, keys, start, d, D);
    }
  }
  return round(laneSum() + round(q[0] * keys[start]));
}

// The dot product of one of two or three queries and a key
function dotOfFew(q, keys, start, D) {
  setProducts(q, keys, start, 0, D, 0);
  for (let d = WIDE; d < D; d += WIDE) addProducts(q, keys, start, d, D);
  return laneSum();
}

// The dot product of one of many queries and a key: one product after the other
function dotOfMany(q, keys, start, D) {
  let sum = 0;
  for (let d = 0; d < D; d++) sum = round(q[d] * keys[start + d] + sum);
  return sum;
}

const LN_2 = round(0.6931471805599453);
const EXP = [0.00828929059, 0.0418978221, 0.166676521, 0.499991506, 0.999999701, 1].map(round);
const LEAST_LOG = round(-87.33654475);  // of a float32 that is not denormal

// e to the power of x <= 0 by a polynomial of degree 5, good to 20 units in the last place
function roughExp(x) {
  if (x < LEAST_LOG) return 0;
  const n = Math.floor(round(x * LOG2_E + 0.5)), r = round(x - n * LN_2);
  let sum = EXP[0];
  for (let i = 1; i < 6; i++) sum = round(r * sum + EXP[i]);
  return round(sum * 2 ** n);
}

// Write softmax(q · keys / sqrt(D)) · values of one head into y: (D,), (S, D), (S, D) -> (D,).
//
// `queries` of a prompt are computed at once, and each of them has `row` scores, those to come included. Keys are read
// in blocks; what was added up before is scaled to the highest score of the next block.
function attend(q, keys, values, S, D, { queries, row }, y, scores) {
  const scale = round(1 / Math.sqrt(D));
  let most = -Infinity, total = 0;
  y.fill(0);
  for (let start = 0; start < S; start += BLOCK) {
    const end = Math.min(S, start + BLOCK), size = Math.min(row - start, BLOCK), fours = start + size - (size % 4);
    let top = most;
    for (let t = start; t < end; t++) {
      const dot = queries > 3 ? dotOfMany : queries > 1 ? dotOfFew : t < fours ? dotOfFour : dotOfRest;
      scores[t] = dot(q, keys, t * D, D) * scale;
      if (scores[t] > top) top = scores[t];
    }
    const before = start ? round(Math.exp(round(most - top))) : 0;
    if (start) for (let d = 0; d < D; d++) y[d] *= before;
    total = exponentials(scores, start, end, start + size - (size % WIDE), top) + before * total;
    total = round(total);
    most = top;
    const eights = queries > 1 ? start : end - ((end - start) % 8);
    for (let t = start; t < eights; t += 8) addEight(scores, values, t, D, y);
    for (let t = eights; t < end; t++) {
      const weight = scores[t];
      for (let d = 0, i = t * D; d < D; d++, i++) y[d] += weight * values[i];
    }
  }
  const inverse = round(1 / total);
  for (let d = 0; d < D; d++) y[d] *= inverse;
}

// Replace scores by e to the power of their distance from the highest, and return the sum. Whole vectors of a row get
// the rough exponential, up to the place `rest`, and the others the exact one.
function exponentials(scores, start, end, rest, top) {
  lanes.fill(0);
  const wide = Math.min(end, rest);
  for (let t = start; t < wide; t++) {
    const lane = (t - start) % WIDE;
    scores[t] = roughExp(round(scores[t] - top));
    lanes[lane] = round(lanes[lane] + scores[t]);
  }
  let sum = laneSum();
  for (let t = wide; t < end; t++) {
    scores[t] = Math.exp(round(scores[t] - top));
    sum = round(sum + scores[t]);
  }
  return sum;
}

// Add eight values, each times its weight, to y.
function addEight(weights, values, t, D, y) {
  const a = weights[t], b = weights[t + 1], c = weights[t + 2], d = weights[t + 3];
  const e = weights[t + 4], f = weights[t + 5], g = weights[t + 6], h = weights[t + 7];
  for (let column = 0, i = t * D; column < D; column++, i++) {
    const sum = round(e * values[i + 4 * D] + round(g * values[i + 6 * D] + y[column]));
    const first = round(f * values[i + 5 * D] + round(h * values[i + 7 * D]));
    const second = round(a * values[i] + round(c * values[i + 2 * D]));
    const third = round(b * values[i + D] + round(d * values[i + 3 * D]));
    y[column] = round(sum + first) + round(second + third);
  }
}
