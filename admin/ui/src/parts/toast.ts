import { notifications } from '@mantine/notifications';
import { sentence } from '../api/client';

export function toastError(thrown: unknown) {
  notifications.show({ message: sentence(thrown), color: 'var(--bad)', autoClose: 8000, role: 'alert' });
}

export function toastDone(message: string) {
  notifications.show({ message, color: 'var(--ok)', autoClose: 4000, role: 'status' });
}
