import { ActionIcon, SegmentedControl, Tooltip } from '@mantine/core';
import { IconChartLine, IconTable, IconZoomReset } from '@tabler/icons-react';

interface RangeControlsProps<R extends string> {
  ranges: readonly R[];
  range: R;
  /** A part of the range is shown. */
  zoomed: boolean;
  /** Said of the button that shows all of it again. */
  back: string;
  asTable: boolean;
  change: (part: { range?: R; zoom?: undefined; asTable?: boolean }) => void;
  /** Between the ranges and the table. */
  children?: React.ReactNode;
}

/** Over a chart: its range, and the same as a table. */
export function RangeControls<R extends string>({ ranges, range, zoomed, back, asTable, change, children }: RangeControlsProps<R>) {
  const other = asTable ? 'Show as chart' : 'Show as table';
  return (
    <>
      {zoomed && (
        <Tooltip label={back}>
          <ActionIcon aria-label="Back to the whole range" onClick={() => change({ zoom: undefined })}>
            <IconZoomReset size={16} stroke={1.5} />
          </ActionIcon>
        </Tooltip>
      )}
      <SegmentedControl
        aria-label="Range"
        value={zoomed ? '' : range}
        onChange={(value) => change({ range: value as R, zoom: undefined })}
        data={[...ranges]}
      />
      {children}
      <Tooltip label={other}>
        <ActionIcon aria-label={other} onClick={() => change({ asTable: !asTable })}>
          {asTable ? <IconChartLine size={16} stroke={1.5} /> : <IconTable size={16} stroke={1.5} />}
        </ActionIcon>
      </Tooltip>
    </>
  );
}
