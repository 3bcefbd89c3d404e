import { createBrowserRouter, Navigate } from 'react-router';

import { Portal } from './portal/portal';
import { Crash, NotFound } from './shell/notfound';
import { part } from './shell/outdated';
import { Shell } from './shell/shell';

// The whole map. Pages other than the Portal are loaded when they are opened.
export const router = createBrowserRouter([
  {
    element: <Shell />,
    errorElement: <Crash />,
    hydrateFallbackElement: <></>,
    children: [
      {
        errorElement: <Crash />,
        children: [
          { path: '/portal', element: <Portal /> },
          { path: '/apps', lazy: async () => ({ Component: (await part(() => import('./apps/list'))).AppList }) },
          { path: '/apps/new', lazy: async () => ({ Component: (await part(() => import('./apps/new'))).NewApp }) },
          {
            path: '/apps/:name',
            lazy: async () => ({ Component: (await part(() => import('./apps/app'))).AppLayout }),
            children: [
              { index: true, lazy: async () => ({ Component: (await part(() => import('./apps/overview'))).Overview }) },
              { path: 'deploys', lazy: async () => ({ Component: (await part(() => import('./apps/deploys'))).Deploys }) },
              { path: 'deploys/:id', lazy: async () => ({ Component: (await part(() => import('./apps/deploy'))).DeployPage }) },
              { path: 'compare', lazy: async () => ({ Component: (await part(() => import('./apps/compare'))).Compare }) },
              { path: 'logs', lazy: async () => ({ Component: (await part(() => import('./apps/logs'))).Logs }) },
              { path: 'metrics', lazy: async () => ({ Component: (await part(() => import('./apps/metrics'))).Metrics }) },
              { path: 'access', lazy: async () => ({ Component: (await part(() => import('./apps/access'))).Access }) },
              { path: 'environment', lazy: async () => ({ Component: (await part(() => import('./apps/environment'))).Environment }) },
              { path: 'processes', lazy: async () => ({ Component: (await part(() => import('./apps/processes'))).Processes }) },
              { path: 'files', lazy: async () => ({ Component: (await part(() => import('./apps/files'))).Files }) },
              { path: 'portal', lazy: async () => ({ Component: (await part(() => import('./apps/portalinfo'))).PortalInfo }) },
              { path: 'settings', lazy: async () => ({ Component: (await part(() => import('./apps/settings'))).Settings }) },
              { path: '*', element: <NotFound /> },
            ],
          },
          { path: '/profile', lazy: async () => ({ Component: (await part(() => import('./profile/profile'))).Profile }) },
          {
            path: '/admin',
            lazy: async () => ({ Component: (await part(() => import('./admin/admin'))).Admin }),
            children: [
              { index: true, element: <Navigate to="users" replace /> },
              { path: 'users', lazy: async () => ({ Component: (await part(() => import('./admin/users'))).Users }) },
              { path: 'apps', lazy: async () => ({ Component: (await part(() => import('./admin/apps'))).AdminApps }) },
              { path: 'environment', lazy: async () => ({ Component: (await part(() => import('./admin/watch'))).GlobalEnv }) },
              { path: 'limits', lazy: async () => ({ Component: (await part(() => import('./admin/limits'))).Limits }) },
              { path: 'branding', lazy: async () => ({ Component: (await part(() => import('./admin/branding'))).Branding }) },
              { path: 'usage', lazy: async () => ({ Component: (await part(() => import('./admin/watch'))).Usage }) },
              { path: 'audit', lazy: async () => ({ Component: (await part(() => import('./admin/watch'))).Audit }) },
              { path: 'health', lazy: async () => ({ Component: (await part(() => import('./admin/watch'))).Health }) },
              { path: '*', element: <NotFound /> },
            ],
          },
          { path: '*', element: <NotFound /> },
        ],
      },
    ],
  },
]);
