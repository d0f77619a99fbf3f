defmodule DSPex.Router.Capability do
  @moduledoc """
  Who can run a call.

  | | Elixir | Python |
  |---|---|---|
  | kinds | `predict`, `chain_of_thought` | all of DSPy's |
  | signatures | text and fields with types that Elixir knows | those, and registered classes |
  | adapters | chat, json, xml | the same |
  | LMs | those of the instance's `native:` options: OpenAI's chat completions | those of the worker's settings |
  | sessions, tools, children, state of several predictors | no | yes |
  | `execution:` of the call | no | yes |
  """

  alias DSPex.Native
  alias DSPex.Program

  @default %{lms: %{}, prefer: :native}

  @doc "Whether Elixir can run the call, and with which LM; if not, why."
  @spec native(:ets.table(), Program.t(), keyword) :: {:ok, Native.LM.t()} | {:no, String.t()}
  def native(table, program, options) do
    with {:ok, lm} <- lm(native_config(table), lm_name(program, options)),
         :ok <- outside_sessions(options),
         :ok <- without_execution(options),
         :ok <- Native.Program.check(program) do
      {:ok, lm}
    end
  end

  @doc "Whether Python can; an instance may have no pool at all."
  @spec python(:ets.table(), Program.t(), keyword) :: {:ok, nil} | {:no, String.t()}
  def python(table, _program, options) do
    case pool(table, options) do
      nil -> {:no, "the instance has no pool"}
      _pool -> {:ok, nil}
    end
  end

  @doc "The pool of a call: its own choice, or the instance's first."
  @spec pool(:ets.table(), keyword) :: atom | nil
  def pool(table, options), do: options[:pool] || List.first(:ets.lookup_element(table, :pools, 2))

  @doc "The instance's `native:` options: LMs by name, and the preference."
  @spec native_config(:ets.table()) :: %{lms: %{String.t() => Native.LM.t()}, prefer: :native | :python}
  def native_config(table) do
    case :ets.lookup(table, :native) do
      [{:native, config}] -> config
      [] -> @default
    end
  end

  @doc "The LM that a call names, itself or by its program; nil for the default one."
  @spec lm_name(Program.t(), keyword) :: String.t() | nil
  def lm_name(program, options), do: options[:lm] || lm_name(program)

  defp lm_name(%Program{lm: %{} = lm}), do: lm["name"]
  defp lm_name(%Program{lm: name}), do: name

  defp lm(%{lms: lms}, _name) when lms == %{}, do: {:no, "the instance has no native LM (native: [lms: …])"}

  defp lm(%{lms: lms}, name) do
    case lms do
      %{^name => lm} -> {:ok, lm}
      %{"default" => lm} when name == nil -> {:ok, lm}
      _others -> {:no, "the LM #{inspect(name || "default")} is not among the native ones"}
    end
  end

  defp outside_sessions(options) do
    if options[:session], do: {:no, "sessions live in Python"}, else: :ok
  end

  defp without_execution(options) do
    if options[:execution], do: {:no, "the executor's options (execution:) are Python's"}, else: :ok
  end
end
