// Bulk in batches, every second batch enriched as a whole.
import { post, show } from './call.mjs';

const results = [];
for (let batch = 0; batch < 2; batch++) {
  const rows = await post('/members', 'generator', {
    count: 30,
    shape: { members: [{ id: 'string', handle: 'string', email: 'string' }] }
  });
  results.push(batch % 2 ? rows : await post('/members/enrich', 'enricher', rows));
}
show(results);
