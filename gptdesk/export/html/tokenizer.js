// Text to ids and back: byte-level BPE and plain characters.
"use strict";

// What GPT-2 splits a text by, with the white space of Unicode spelled out: JavaScript's \s differs in two characters.
const SPACE = "\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const PIECES = new RegExp(
  "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+" +
  `| ?[^${SPACE}\\p{L}\\p{N}]+|[${SPACE}]+$|[${SPACE}]+(?![^${SPACE}])|[${SPACE}]`, "gu");

const utf8 = new TextEncoder();

// Bytes as a string of characters below 256, to be keys of a map
function byteString(text) {
  return Array.from(utf8.encode(text), byte => String.fromCharCode(byte)).join("");
}

class BytePairTokenizer {
  // tokens: the bytes of every id, null for one that the vocabulary lacks; ids of special tokens are never encoded to
  constructor({ tokens, specials }) {
    this.tokens = tokens;
    this.ids = new Map();
    tokens.forEach((token, id) => { if (token !== null && !specials.includes(id)) this.ids.set(token, id); });
  }

  encode(text) {
    const ids = [];
    for (const [piece] of text.toWellFormed().matchAll(PIECES)) {
      for (const id of this.merged(byteString(piece))) ids.push(id);
    }
    return ids;
  }

  // Join neighbours, those that make the token with the lowest id first.
  merged(piece) {
    if (this.ids.has(piece)) return [this.ids.get(piece)];
    const parts = [...piece];
    const rank = i => (i + 1 < parts.length ? this.ids.get(parts[i] + parts[i + 1]) ?? Infinity : Infinity);
    const ranks = parts.map((_, i) => rank(i));
    for (;;) {
      let best = 0;
      for (let i = 1; i < ranks.length; i++) if (ranks[i] < ranks[best]) best = i;
      if (!(ranks[best] < Infinity)) return parts.map(part => this.ids.get(part));
      parts.splice(best, 2, parts[best] + parts[best + 1]);
      ranks.splice(best + 1, 1);
      ranks[best] = rank(best);
      if (best) ranks[best - 1] = rank(best - 1);
    }
  }

  bytes(id) {
    const token = this.tokens[id] ?? "\xef\xbf\xbd";  // U+FFFD
    return Uint8Array.from(token, character => character.charCodeAt(0));
  }
}

class CharacterTokenizer {
  constructor({ characters }) {
    this.characters = characters;
    this.ids = new Map(characters.map((character, id) => [character, id]));
  }

  encode(text) {
    const unknown = [...new Set([...text].filter(character => !this.ids.has(character)))];
    if (unknown.length) {
      const listed = unknown.slice(0, 5).map(character => JSON.stringify(character)).join(", ");
      const more = unknown.length > 5 ? ` and ${unknown.length - 5} more` : "";
      throw new Error(
        `The model knows ${this.characters.length} characters and these are not among them: ${listed}${more}. ` +
        "Remove them from the prompt.");
    }
    return [...text].map(character => this.ids.get(character));
  }

  bytes(id) {
    return utf8.encode(this.characters[id] ?? "\ufffd");
  }
}

function makeTokenizer(data) {
  return data.characters ? new CharacterTokenizer(data) : new BytePairTokenizer(data);
}
