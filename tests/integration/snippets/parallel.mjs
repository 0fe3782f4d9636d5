// Three aspects at once, merged by the client.
import { post, show } from './call.mjs';

async function describeTrain(number) {
  const [coach, fare, seats] = await Promise.all([
    post('/trains/coach', 'enricher', { number, shape: { label: 'string', build: { length: 'string', colour: 'string' } } }),
    post('/trains/fare', 'generator', { number, shape: { amount: 0.0, rebate: 0, currency: 'EUR' } }),
    post('/trains/seats', 'generator', { number, shape: { open: true, free: 0, checkedAt: 'ISO-8601' } })
  ]);
  return { number, ...coach, fare, seats };
}

show(await describeTrain('ICE-77'));
