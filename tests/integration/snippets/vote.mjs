// The same question to several backends at once; the client keeps the best.
import { base, show } from './call.mjs';

const request = { shape: { motto: 'string', score: 0 } };
const results = await Promise.all(
  ['generator', 'enricher', 'fast', 'quality'].map(async backend => {
    const reply = await fetch(`${base}/mottos`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-LLM-Backend': backend },
      body: JSON.stringify(request)
    });
    return { asked: backend, by: reply.headers.get('X-Backend-Used'), answer: await reply.json() };
  })
);
show(results.sort((a, b) => b.answer.score - a.answer.score));
