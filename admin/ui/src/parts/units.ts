import { useQuery } from '@tanstack/react-query';
import { metricUnits } from '../api/prometheus';
import { readings } from '../api/schemas';
import { unitOf } from '../text/format';
import { keptUnits } from '../text/readings';

/** The unit of each column of a thing: what its type says, else what the name of the column says by custom, "" for none. */
export function useUnits(thingTypeName: string | undefined): (column: string) => string {
  // Most fleets declare no units. Only where some type does, this one is asked: two types may have one column in two units.
  const declared = useQuery({ queryKey: ['metadata'], queryFn: ({ signal }) => metricUnits(signal), staleTime: 60_000 });
  const some = [...(declared.data?.values() ?? [])].some((units) => units.length > 0);
  const own = useQuery({
    queryKey: ['readings', thingTypeName, 'units'],
    queryFn: ({ signal }) => readings(thingTypeName!, signal).then(keptUnits),
    enabled: some && Boolean(thingTypeName),
    staleTime: 60_000,
  });
  return (column) => own.data?.get(column) ?? unitOf(column);
}
