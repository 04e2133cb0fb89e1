/** HTTP in and out: bodies read up to their limit, answers written with FHIR's headers. No route is decided here. */
import zlib from 'node:zlib';
import { badRequest, getStatus, isCreated, stringify } from '@medplum/core';
import { refuse } from './outcomes.mjs';

/** Counted unpacked; answered with 400, not 413 (contract, section 6). */
const BODY_LIMIT = 1024 * 1024;

/** Reads a whole body as bytes, unpacking gzip. A body over `limit` is read to its end, then refused. */
export async function readBody(request, limit = BODY_LIMIT) {
  const isGzip = request.headers['content-encoding'] === 'gzip';
  const source = isGzip ? request.pipe(zlib.createGunzip()) : request;
  const chunks = [];
  let size = 0;
  for await (const chunk of source) {
    size += chunk.length;
    if (size <= limit) {
      chunks.push(chunk);
    }
  }
  if (size > limit) {
    refuse(badRequest('File too large'));
  }
  return Buffer.concat(chunks);
}

/** A body as the handlers want it: JSON, a form, or an empty object for anything else, as on the real server. */
export function parseBody(request, bytes) {
  const type = request.headers['content-type'] ?? '';
  if (bytes.length === 0) {
    return {};
  }
  if (type.includes('json')) {
    try {
      return JSON.parse(bytes.toString('utf8'));
    } catch {
      refuse(badRequest('Content could not be parsed'));
    }
  }
  return type.includes('application/x-www-form-urlencoded') ? parseForm(bytes) : {};
}

/** A form as an object; a name given several times has an array. */
export function parseForm(bytes) {
  const form = new URLSearchParams(bytes.toString('utf8'));
  return Object.fromEntries(
    [...new Set(form.keys())].map((name) => [name, form.getAll(name).length > 1 ? form.getAll(name) : form.get(name)])
  );
}

export function sendJson(response, status, body, headers = {}) {
  send(response, status, JSON.stringify(body), { 'Content-Type': 'application/json; charset=utf-8', ...headers });
}

export function sendText(response, status, text, headers = {}) {
  send(response, status, text, { 'Content-Type': 'text/plain; charset=utf-8', ...headers });
}

/** What express answers where nothing is. */
export function sendNoSuchPage(response, method, path) {
  const page = `<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Error</title>\n</head>\n`;
  const body = `${page}<body>\n<pre>Cannot ${method} ${path.replaceAll('<', '&lt;')}</pre>\n</body>\n</html>\n`;
  send(response, 404, body, { 'Content-Type': 'text/html; charset=utf-8' });
}

/** Answers with a FHIR outcome and perhaps a resource; `transform` sees the JSON text last. */
export function sendFhir(request, response, [outcome, resource], { fhirUrl, transform = (json) => json }) {
  const headers = { 'Content-Type': 'application/fhir+json; charset=utf-8', ...versionHeaders(resource) };
  if (isCreated(outcome) && resource) {
    headers.Location = `${fhirUrl}${resource.resourceType}/${resource.id}`;
  }
  const wantsNothing = (request.headers.prefer ?? '').includes('return=minimal');
  if (request.method === 'GET' && headers.ETag && request.headers['if-none-match'] === headers.ETag) {
    send(response, 304, '', { ETag: headers.ETag });
  } else {
    send(response, getStatus(outcome), wantsNothing ? '' : transform(stringify(resource ?? outcome)), headers);
  }
}

/** ETag and Last-Modified of a resource that has a version. */
export function versionHeaders(resource) {
  const { versionId, lastUpdated } = resource?.meta ?? {};
  return {
    ...(versionId && { ETag: `W/"${versionId}"` }),
    ...(lastUpdated && { 'Last-Modified': new Date(lastUpdated).toUTCString() }),
  };
}

export function send(response, status, body, headers) {
  const length = status === 304 ? {} : { 'Content-Length': Buffer.byteLength(body) };
  response.writeHead(status, { ...headers, ...length });
  response.end(body);
}
