// Variants kept ready: the first is made at once, later ones are there already.
import { base, show } from './call.mjs';

const body = JSON.stringify({ shape: { $cache: 3, tides: [{ hour: 0, metres: 0.0 }] } });
const seen = [];
for (let turn = 0; turn < 4; turn++) {
  const reply = await fetch(`${base}/tides`, { method: 'POST', body });
  seen.push({ hit: reply.headers.get('X-Cache-Hit'), by: reply.headers.get('X-Backend-Used'), body: await reply.json() });
  await new Promise(done => setTimeout(done, 400));
}
show(seen);
