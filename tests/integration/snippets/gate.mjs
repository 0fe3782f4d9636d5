// Dear models only for what is intricate: the answer to a check of data is the data, put right.
import { post, show } from './call.mjs';

const wanted = { shape: { parcel: { weightKg: 0.0, stops: [{ town: 'string', at: 'ISO-8601' }] } }, count: 3 };
const made = await post('/parcels', 'generator', wanted);
const nested = (JSON.stringify(made).match(/[{[]/g) || []).length;
const checked = await post('/validate', 'validator', {
  data: made,
  validationRules: ['Every time is a valid ISO-8601 time', 'No weight is negative']
});
show({ made, nested, checked });
