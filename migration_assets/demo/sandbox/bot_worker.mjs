/**
 * One warm worker of one version of a Bot: loads its code once, and hands each message to its handler.
 *
 * The code is CommonJS, as Medplum's compilers make it; what it writes to the console goes nowhere, for it may be
 * patient data. What it answers crosses over as JSON, as a Lambda's answer does.
 */
import { createRequire } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';
import { MedplumClient, normalizeOperationOutcome } from '@medplum/core';

const { code, baseUrl, runtime } = workerData;
const exports = {};
const module = { exports };
const silent = new Proxy(console, { get: () => () => undefined });
const load = new Function('exports', 'module', 'require', 'console', code);
load(exports, module, createRequire(import.meta.url), silent);

// As the wrappers of the two runtimes: a VM context never sees what `module.exports` was set to.
const bot = () => (runtime === 'vmcontext' ? exports : module.exports);

parentPort.on('message', async ({ event, accessToken }) => {
  const medplum = new MedplumClient({ baseUrl, fetch });
  medplum.setAccessToken(accessToken);
  try {
    const value = await bot().handler(medplum, event);
    parentPort.postMessage({ json: JSON.stringify(value) });
  } catch (error) {
    const { name = 'Error', message = String(error) } = error ?? {};
    parentPort.postMessage({ error: { name, message }, outcome: normalizeOperationOutcome(error) });
  }
});
