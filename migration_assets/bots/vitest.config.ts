import { defineConfig } from 'vitest/config';

// One worker for the few files there are: starting three takes longer than all their tests.
export default defineConfig({ test: { include: ['src/*.test.ts'], isolate: false, fileParallelism: false } });
