/**
 * Makes of each Bot in src/ one CommonJS file in dist/, as Medplum executes it.
 *
 * A Bot is a file that exports `handler`; what it imports of ours goes into it. @medplum/core and Node's own modules
 * are there where it runs.
 */
import fs from 'node:fs';
import { build } from 'esbuild';

const bots = fs.readdirSync('src').filter((name) => {
  const isTest = name.endsWith('.test.ts');
  return !isTest && /^export async function handler\(/m.test(fs.readFileSync(`src/${name}`, 'utf8'));
});
await build({
  entryPoints: bots.map((name) => `src/${name}`),
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node18',
  external: ['@medplum/core'],
  outExtension: { '.js': '.cjs' },
  // A VM context looks at `exports` alone, a Lambda at `module.exports`.
  footer: { js: 'Object.assign(exports, module.exports);' },
});
console.log(bots.map((name) => `dist/${name.replace(/\.ts$/, '.cjs')}`).join('\n'));
