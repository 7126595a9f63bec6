mkdir -p packages/ui apps/web apps/api; echo l > pnpm-lock.yaml; echo p > package.json; echo u > packages/ui/i.js; echo w > apps/web/i.js; echo a > apps/api/index.js; echo b > apps/api/worker.js
