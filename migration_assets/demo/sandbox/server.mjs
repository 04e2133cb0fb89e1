/**
 * The process: reads its options, listens on loopback, says so in one line, and ends with its parent.
 *
 * The parent writes the options as one JSON line to stdin (secrets belong neither into arguments nor into the
 * environment) and keeps the pipe open. Whatever happens to the parent, the pipe closes, and the server stops.
 */
import http from 'node:http';
import readline from 'node:readline';
import { loadDefinitions } from './definitions.mjs';
import { Sandbox } from './sandbox.mjs';

/** Bodies of 1,000 identifiers come in forms; a URL over 16 KiB is refused with 431, as on the real server. */
const MAX_HEADER_BYTES = 16 * 1024;
/** Longer than a client's pool keeps an idle connection: a connection must not be closed just as it is used again. */
const KEEP_ALIVE_MS = 90_000;

const input = readline.createInterface({ input: process.stdin });
input.once('line', (line) => start(JSON.parse(line)).catch(fail));
input.once('close', () => stop());
process.once('SIGTERM', () => stop());

let server;
let sandbox;

async function start(options) {
  const began = performance.now();
  loadDefinitions();
  server = http.createServer({ maxHeaderSize: MAX_HEADER_BYTES, requestTimeout: 0, keepAliveTimeout: KEEP_ALIVE_MS });
  await listen(options.port);
  const { port } = server.address();
  sandbox = new Sandbox(options, `http://127.0.0.1:${port}/`);
  server.on('request', (request, response) => sandbox.serve(request, response));
  const resources = Object.values(sandbox.store.counts()).reduce((sum, count) => sum + count, 0);
  process.stdout.write(`${JSON.stringify({ port, resources, startup_ms: Math.round(performance.now() - began) })}\n`);
}

function listen(port) {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
}

/** Stops taking requests, flushes the journal, ends. */
function stop() {
  server?.close();
  sandbox?.close();
  process.exit(0);
}

function fail(error) {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}
