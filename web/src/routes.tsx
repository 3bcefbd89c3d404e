import { createBrowserRouter } from 'react-router';

import { Portal } from './portal/portal';
import { Crash, NotFound } from './shell/notfound';
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
          { path: '*', element: <NotFound /> },
        ],
      },
    ],
  },
]);
