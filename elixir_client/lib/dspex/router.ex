defmodule DSPex.Router do
  @moduledoc """
  Decides where a call runs. For now everything runs in Python; the decision and its reason are recorded with the call.
  """

  @type decision :: {:python, reason :: String.t()}

  @doc """
  The route of a call.

      iex> DSPex.Router.decide(DSPex.Predict.new("question -> answer"), [])
      {:ok, {:python, "predict runs in DSPy"}}
      iex> {:error, error} = DSPex.Router.decide(DSPex.Predict.new("q -> a"), implementation: :native)
      iex> error.reason
      :invalid_input
  """
  @spec decide(DSPex.Program.t(), keyword) :: {:ok, decision} | {:error, DSPex.Error.t()}
  def decide(program, options) do
    case Keyword.get(options, :implementation, :auto) do
      choice when choice in [:auto, :python] ->
        {:ok, {:python, "#{program.kind} runs in DSPy"}}

      other ->
        text = "implementation is #{inspect(other)}; #{program.kind} has :python (or :auto)"
        {:error, DSPex.Error.new(:invalid_input, text)}
    end
  end
end
