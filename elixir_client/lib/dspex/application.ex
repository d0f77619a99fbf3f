defmodule DSPex.Application do
  @moduledoc """
  Starts what belongs to the library rather than to an instance: the table of telemetry handlers.

  Instances are started by their users: `{DSPex, name: MyApp.DSPex}` in a supervision tree.
  """
  use Application

  @impl Application
  def start(_type, _args) do
    DSPex.Telemetry.choose()
    Supervisor.start_link([DSPex.Telemetry.Handlers], strategy: :one_for_one, name: __MODULE__)
  end

  @doc "Starts a child of the library's own, which all instances share."
  @spec start_child(Supervisor.child_spec() | {module, term}) :: Supervisor.on_start_child()
  def start_child(child), do: Supervisor.start_child(__MODULE__, child)
end
