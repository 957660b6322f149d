import { ActionIcon, Tooltip } from '@mantine/core';
import { IconTrash } from '@tabler/icons-react';

interface TrashProps {
  label?: string;
  /** What goes, for those who do not see the row: "Remove the token grafana". */
  what: string;
  onClick: () => void;
}

/** The button at the end of a row that takes it away. */
export function Trash({ label = 'Remove', what, onClick }: TrashProps) {
  return (
    <Tooltip label={label}>
      <ActionIcon size={26} aria-label={what} onClick={onClick}>
        <IconTrash size={16} stroke={1.5} />
      </ActionIcon>
    </Tooltip>
  );
}
