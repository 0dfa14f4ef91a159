// Random numbers of the desk, bit for bit: 64-bit words as two halves of 32 bits, [high, low].
"use strict";

// Upper half of the product of two unsigned 32-bit numbers, in 16-bit pieces
function upperHalf(x, y) {
  const a = x & 0xffff, b = x >>> 16, c = y & 0xffff, d = y >>> 16;
  const middle = Math.imul(b, c) + (Math.imul(a, c) >>> 16) | 0;
  const other = Math.imul(a, d) + (middle & 0xffff) | 0;
  return Math.imul(b, d) + (middle >>> 16) + (other >>> 16) | 0;
}

// SplitMix64's finaliser: every bit of the result depends on every bit of the word.
function mix(high, low) {
  low ^= (low >>> 30) | (high << 2);
  high ^= high >>> 30;
  high = upperHalf(low, 0x1ce4e5b9) + Math.imul(high, 0x1ce4e5b9) + Math.imul(low, 0xbf58476d) | 0;
  low = Math.imul(low, 0x1ce4e5b9);
  low ^= (low >>> 27) | (high << 5);
  high ^= high >>> 27;
  high = upperHalf(low, 0x133111eb) + Math.imul(high, 0x133111eb) + Math.imul(low, 0x94d049bb) | 0;
  low = Math.imul(low, 0x133111eb);
  return [high ^ (high >>> 31), low ^ ((low >>> 31) | (high << 1))];
}

// Uniform number in the open interval (0, 1), one for each key and token id: output number `id` of SplitMix64.
function noise(key, id) {
  // key + (id + 1) * 0x9e3779b97f4a7c15
  const n = id + 1, product = Math.imul(n, 0x7f4a7c15), sum = (product >>> 0) + (key[1] >>> 0);
  const start = key[0] + upperHalf(n, 0x7f4a7c15) + Math.imul(n, 0x9e3779b9) + (sum > 0xffffffff ? 1 : 0) | 0;
  const [high, low] = mix(start, sum | 0);
  // the upper 53 bits, odd: never 0
  return ((high >>> 11) * 4294967296 + (((high << 21) | (low >>> 11) | 1) >>> 0)) * 2 ** -53;
}

// Mersenne Twister (Matsumoto and Nishimura 1998), from which torch draws.
class MersenneTwister {
  constructor(seed) {
    this.state = new Uint32Array(624);
    this.state[0] = seed;
    for (let i = 1; i < 624; i++) {
      const before = this.state[i - 1];
      this.state[i] = Math.imul(before ^ (before >>> 30), 1812433253) + i;
    }
    this.next = 624;
  }

  word() {
    const s = this.state;
    if (this.next === 624) {
      for (let i = 0; i < 624; i++) {
        const y = (s[i] & 0x80000000) | (s[(i + 1) % 624] & 0x7fffffff);
        s[i] = s[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      this.next = 0;
    }
    let y = s[this.next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) | 0;
  }
}

// Stream of 63-bit keys, one for each step, of the first row of a generation with this seed (a BigInt).
class KeyStream {
  constructor(seed) {
    this.salt = mix(...mix(Number(seed >> 32n) | 0, Number(seed & 0xffffffffn) | 0));
    this.generator = new MersenneTwister(this.salt[1]);
  }

  next() {
    const h = this.generator.word(), l = this.generator.word();
    return [((h & 0x7fffffff) ^ this.salt[0]) & 0x7fffffff, l ^ this.salt[1]];
  }
}
