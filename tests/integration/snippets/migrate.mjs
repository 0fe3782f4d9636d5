// Old records into a new form; the important ones get a verdict.
import { post, show } from './call.mjs';

const target = { person: { given: 'string', family: 'string' }, joined: 'ISO-8601', active: true };
const done = [];
for (const record of [{ nm: 'Ada Example', dt: '3/4/99', rank: 'high' }, { nm: 'Bo Sample', dt: '1/1/01', rank: 'low' }]) {
  let moved = await post('/transform', 'generator', { legacyRecord: record, targetSchema: target });
  moved = await post('/enrich', 'enricher', moved);
  const verdict = record.rank === 'high'
    ? await post('/validate', 'validator', { record: moved, rules: ['Names are not empty'] })
    : null;
  done.push({ moved, verdict });
}
show(done);
