import { Button, Modal } from '@mantine/core';
import './confirm.css';

interface ConfirmProps {
  open: boolean;
  title: string;
  /** What the button does: "Remove". */
  action: string;
  onCancel: () => void;
  onConfirm: () => void;
  children: React.ReactNode;
}

/** The one kind of dialog: before something that cannot be taken back. */
export function Confirm({ open, title, action, onCancel, onConfirm, children }: ConfirmProps) {
  return (
    <Modal opened={open} onClose={onCancel} title={title} size={400} closeButtonProps={{ 'aria-label': 'Close' }}>
      {children}
      <div className="confirm-actions">
        <Button onClick={onCancel} data-autofocus>
          Cancel
        </Button>
        <Button variant="danger" onClick={onConfirm}>
          {action}
        </Button>
      </div>
    </Modal>
  );
}
