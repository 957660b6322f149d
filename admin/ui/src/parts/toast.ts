import { notifications } from '@mantine/notifications';
import { sentence } from '../api/client';

// The close button has no text of its own.
const closeButtonProps = { 'aria-label': 'Close' };

export function toastError(thrown: unknown) {
  notifications.show({ message: sentence(thrown), color: 'var(--bad)', autoClose: 8000, role: 'alert', closeButtonProps });
}

export function toastDone(message: string) {
  notifications.show({ message, color: 'var(--ok)', autoClose: 4000, role: 'status', closeButtonProps });
}
