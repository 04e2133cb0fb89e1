/**
 * The append-only file that lets the sandbox's data outlive its process.
 *
 * One line is one commit: a JSON array of changes. A transaction is therefore there whole or not at all, and a line
 * torn by a kill is a commit nobody was told about. What a change means belongs to store.mjs, not here.
 */
import fs from 'node:fs';
import path from 'node:path';

const NEWLINE = 0x0a;
const READ_SIZE = 1 << 20;
/** Patient data, even when invented: nobody else on the machine reads it. */
const OWNER_ONLY = 0o600;

/** A journal that forgets: the sandbox without a state folder. */
export const NO_JOURNAL = { *commits() {}, append() {}, clear() {}, close() {} };

export class Journal {
  constructor(folder) {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.path = path.join(folder, 'journal.jsonl');
    this.file = fs.openSync(this.path, 'a+', OWNER_ONLY);
    fs.fchmodSync(this.file, OWNER_ONLY);
    this.size = fs.fstatSync(this.file).size;
  }

  /** Yields every commit since the beginning; a torn last line is cut off so that the next append starts clean. */
  *commits() {
    for (const { text, offset, complete } of this.lines()) {
      const changes = complete ? parseCommit(text) : undefined;
      if (!changes) {
        if (offset + Buffer.byteLength(text) + 1 < this.size) {
          throw new Error(`The journal ${this.path} is damaged at byte ${offset}: delete the state folder to start over.`);
        }
        fs.ftruncateSync(this.file, offset);
        this.size = offset;
        return;
      }
      yield changes;
    }
  }

  /** Reads in chunks: a long demo's journal is larger than the longest string Node can hold. */
  *lines() {
    const chunk = Buffer.alloc(READ_SIZE);
    let rest = Buffer.alloc(0);
    let offset = 0;
    for (let position = 0; position < this.size; ) {
      const read = fs.readSync(this.file, chunk, 0, READ_SIZE, position);
      if (read === 0) {
        break;
      }
      position += read;
      let data = Buffer.concat([rest, chunk.subarray(0, read)]);
      for (let at = data.indexOf(NEWLINE); at >= 0; at = data.indexOf(NEWLINE)) {
        yield { text: data.toString('utf8', 0, at), offset, complete: true };
        offset += at + 1;
        data = data.subarray(at + 1);
      }
      rest = data;
    }
    if (rest.length > 0) {
      yield { text: rest.toString('utf8'), offset, complete: false };
    }
  }

  /** Writes one commit before anybody is answered. No fsync: a demo survives a kill, not a power cut. */
  append(changes) {
    const line = Buffer.from(JSON.stringify(changes) + '\n');
    try {
      for (let written = 0; written < line.length; ) {
        written += fs.writeSync(this.file, line, written);
      }
      this.size += line.length;
    } catch (error) {
      // A full disk may have taken half a line: cut it off, or the next commit would be glued to it.
      fs.ftruncateSync(this.file, this.size);
      throw error;
    }
  }

  clear() {
    fs.ftruncateSync(this.file, 0);
    this.size = 0;
  }

  close() {
    fs.fsyncSync(this.file);
    fs.closeSync(this.file);
  }
}

function parseCommit(text) {
  try {
    const changes = JSON.parse(text);
    return Array.isArray(changes) ? changes : undefined;
  } catch {
    return undefined;
  }
}
