defmodule DSPex.Application do
  @moduledoc """
  Starts what belongs to the library rather than to an instance: the table of telemetry handlers.

  Instances are started by their users: `{DSPex, name: MyApp.DSPex}` in a supervision tree.
  """
  use Application

  @impl Application
  def start(_type, _args) do
    DSPex.Telemetry.choose()
    Supervisor.start_link([DSPex.Telemetry.Handlers], strategy: :one_for_one)
  end
end
