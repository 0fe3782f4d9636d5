// Three stages; each is given what the one before made.
import { post, show } from './call.mjs';

const ship = { vesselName: 'string', tonnage: 0, homePort: 'string' };
const draft = await post('/ships/draft', 'generator', { count: 4, shape: { ships: [ship] } });
const crewed = await post('/ships/enrich', 'enricher', {
  ships: draft.ships.slice(0, 2),
  shape: { ships: [{ ...ship, crew: { captain: 'string', size: 0, languages: ['string'] } }] }
});
const insured = await post('/ships/validate', 'validator', {
  ships: crewed.ships,
  shape: {
    ships: [{
      ...ship,
      registry: { since: 'ISO-8601', state: 'afloat|docked|scrapped', rating: 0.5, insured: true }
    }]
  }
});
show({ draft, crewed, insured });
