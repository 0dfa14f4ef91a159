// Attention of one query, rounded and added up as torch and MKL do it on a processor with AVX-512.
//
// An input of the matrix that follows may be rounded to another of its 255 steps for a difference in the last bit, and
// then the text is another one after some hundred tokens. So the order of the sums matters, odd as it is.
"use strict";

const WIDE = 16;  // numbers side by side
const lanes = new Float32Array(WIDE);

// Sum of the lanes: the upper half is added to the lower one until one is left.
function laneSum() {
  for (let half = WIDE / 2; half; half >>= 1) for (let i = 0; i < half; i++) lanes[i] += lanes[i + half];
  return lanes[0];
}

// Add the products from place `from` on to the lanes, up to WIDE of them. `apart`: each is rounded before.
function addProducts(q, keys, start, from, D, apart) {
  const end = Math.min(D, from + WIDE);
  for (let d = from; d < end; d++) {
    const product = q[d] * keys[start + d];
    lanes[d - from] += apart ? round(product) : product;
  }
}

// The dot product of a lone query and a key, one of four that are computed together: the sum so far comes first.
function dotOfFour(q, keys, start, D) {
  const whole = D - 1 - ((D - 1) % WIDE);
  let sum = round(q[0] * keys[start]);
  for (const [from, end] of [[1, 1 + whole], [1 + whole, D]]) {
    lanes.fill(0);
    lanes[0] = sum;
    for (let d = from; d < end; d += WIDE) addProducts(q, keys, start, d, end, false);
    sum = laneSum();
  }
  return sum;
}

// The dot product of a lone query and one of the up to three keys after the last four: the first product comes last.
function dotOfRest(q, keys, start, D) {
  lanes.fill(0);
  for (let d = 1; d < D; d += WIDE) addProducts(q, keys, start, d, D, d === 1 + WIDE && d + WIDE <= D);
  return round(laneSum() + round(q[0] * keys[start]));
}

// The dot product of one of two or three queries and a key
function dotOfFew(q, keys, start, D) {
  lanes.fill(0);
  for (let d = 0; d < D; d += WIDE) addProducts(q, keys, start, d, D, false);
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
// `queries` of a prompt are computed at once, and each of them has `row` scores, those to come included.
function attend(q, keys, values, S, D, { queries, row }, y, scores) {
  const scale = round(1 / Math.sqrt(D)), fours = row - (row % 4);
  let most = -Infinity;
  for (let t = 0; t < S; t++) {
    const dot = queries > 3 ? dotOfMany : queries > 1 ? dotOfFew : t < fours ? dotOfFour : dotOfRest;
    scores[t] = dot(q, keys, t * D, D) * scale;
    if (scores[t] > most) most = scores[t];
  }
  // whole vectors of a row get the rough exponential, the rest the exact one
  const vectors = row - (row % WIDE);
  lanes.fill(0);
  for (let t = 0; t < S; t++) {
    const x = round(scores[t] - most);
    scores[t] = t < vectors ? roughExp(x) : Math.exp(x);
    if (t < vectors) lanes[t % WIDE] += scores[t];
  }
  let total = laneSum();
  for (let t = vectors; t < S; t++) total = round(total + scores[t]);
  const inverse = round(1 / total), eights = queries > 1 ? 0 : S - (S % 8);
  for (let d = 0; d < D; d++) {
    let sum = 0;
    for (let t = 0; t < eights; t += 8) sum = addEight(sum, scores, values, t, D, d);
    for (let t = eights; t < S; t++) sum = round(scores[t] * values[t * D + d] + sum);
    y[d] = sum * inverse;
  }
}

// Add the products of eight weights and values in column d.
function addEight(sum, weights, values, t, D, d) {
  const i = t * D + d;
  const pair = (a, b) => round(weights[t + a] * values[i + a * D] + round(weights[t + b] * values[i + b * D]));
  sum = round(weights[t + 6] * values[i + 6 * D] + sum);
  sum = round(weights[t + 4] * values[i + 4 * D] + sum);
  return round(round(sum + pair(5, 7)) + round(pair(0, 2) + pair(1, 3)));
}
