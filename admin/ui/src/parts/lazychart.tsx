import { lazy, Suspense, type ComponentProps } from 'react';

const Chart = lazy(() => import('./chart'));

/** The chart, its library fetched when the first one is shown; until then its place is kept. */
export function LazyChart(props: ComponentProps<typeof Chart>) {
  return (
    <Suspense fallback={<div style={{ height: props.height }} />}>
      <Chart {...props} />
    </Suspense>
  );
}
