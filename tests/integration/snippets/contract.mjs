// Cases for somebody's endpoint: good ones, odd ones, broken ones.
import { post, show } from './call.mjs';

const schema = { bookId: 'string', copies: 0, gift: true };
const ask = (kind, backend, count, more = {}) =>
  post(`/cases/${kind}`, backend, { endpoint: '/loans', schema, count, type: kind, ...more });
const [valid, edge, invalid] = await Promise.all([
  ask('valid', 'generator', 6),
  ask('edge', 'enricher', 3, { scenarios: ['longest values', 'empty texts'] }),
  ask('invalid', 'validator', 4, { errorTypes: ['wrong types', 'fields left out'] })
]);
show({ valid, edge, invalid, total: valid.length + edge.length + invalid.length });
