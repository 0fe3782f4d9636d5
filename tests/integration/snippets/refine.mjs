// Rounds of refinement that hand the last answer back, a last pass over the bare data, and a repair of named issues.
import { post, show } from './call.mjs';

const request = { shape: { title: 'string', verses: ['string'], year: 0 } };
let poem = null;
for (const [round, path] of ['/write', '/refine', '/refine'].entries()) {
  poem = await post(path, round === 0 ? 'generator' : 'enricher', { ...(poem ? { previous: poem } : {}), ...request });
}
const bare = await post('/poems/refine', 'enricher', { previous: poem });
const final = await post('/validate', 'validator', poem);
const healed = await post('/heal', 'enricher', { data: { ...poem, year: null }, issues: ['year is missing'] });
show({ poem, bare, final, healed });
